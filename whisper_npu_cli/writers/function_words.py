"""Short words that belong to the word after them, by language; a line should not end with one.

The kinds are those that Netflix names (Timed Text Style Guide: General Requirements, "Line
Treatment"): a line break does not separate a noun from its article, a verb from its subject
pronoun, its auxiliary or its negation, and lines are broken before conjunctions and prepositions.
The lists are the commonest words of these kinds, not all of them.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Conjunctions and prepositions: a phrase begins with them
LINKS = {
    "en": _words(
        "and or but nor because although though while whereas unless until if whether that "
        "which who whom whose when where than as of in on at by for from with without to into "
        "onto about over under between through during before after against among across since "
        "towards upon"
    ),
    "de": _words(
        "und oder aber denn sondern weil dass ob wenn als während obwohl damit wie bis bevor "
        "nachdem in im ins an am ans auf aus bei beim mit nach von vom zu zum zur für gegen "
        "ohne um durch über unter vor hinter neben zwischen seit wegen trotz"
    ),
    "fr": _words(
        "et ou mais donc car ni que qui dont où quand lorsque puisque comme si parce à au aux "
        "de du des en dans par pour sur sous avec sans chez vers entre depuis pendant avant "
        "après contre"
    ),
    "es": _words(
        "y e o u pero sino ni que quien cuando donde como si porque aunque mientras a al de del "
        "en con sin por para sobre entre desde hasta hacia contra según durante ante tras"
    ),
    "it": _words(
        "e ed o ma né che chi cui quando dove come se perché mentre a ad al allo alla ai agli "
        "alle di del dello della dei degli delle da dal dalla in nel nella nei nelle con su sul "
        "sulla per tra fra senza verso contro durante"
    ),
    "pt": _words(
        "e ou mas nem que quem quando onde como se porque embora enquanto a ao à aos às de do "
        "da dos das em no na nos nas com sem por pelo pela para sobre entre desde até contra "
        "durante"
    ),
    "nl": _words(
        "en of maar want dat die als toen omdat hoewel terwijl zodat van in op aan bij met naar "
        "uit voor tegen zonder om door over onder tussen sinds tijdens te tot"
    ),
    "ru": _words(
        "и или но а что чтобы который которая которое которые когда где если как потому хотя "
        "пока в во на с со к ко у о об от до из за по под над при про без для через между перед "
        "после"
    ),
}

# Articles, possessives, subject pronouns, auxiliaries, negations, titles before a name
_LEADS = {
    "en": _words(
        "a an the this these those my your his its our their every no not i you he she it we "
        "they i'm you're he's she's it's we're they're is are was were am be been has have had "
        "do does did will would can could shall should may might must don't doesn't didn't "
        "can't won't very too so mr. mrs. ms. dr. st. prof."
    ),
    "de": _words(
        "der die das den dem des ein eine einen einem einer eines kein keine keinen mein meine "
        "dein deine sein seine ihr ihre unser unsere dieser diese dieses diesen diesem jeder "
        "jede jedes ich du er sie es wir man nicht sehr zu ist sind war waren hat haben hatte "
        "wird werden wurde kann können muss soll will herr frau dr. prof. z.b."
    ),
    "fr": _words(
        "le la les un une ce cet cette ces mon ma mes ton ta tes son sa ses notre nos votre vos "
        "leur leurs je tu il elle on nous vous ils elles ne pas est sont était ai as a avons "
        "avez ont se très plus m. mme dr"
    ),
    "es": _words(
        "el la los las un una unos unas este esta estos estas ese esa mi mis tu tus su sus "
        "nuestro nuestra lo le les me te se nos no muy más yo él ella es son era ha han he "
        "había fue está están sr. sra. dr."
    ),
    "it": _words(
        "il lo la i gli le un uno una questo questa questi queste quel quella mio mia tuo tua "
        "suo sua nostro nostra io tu lui lei noi voi loro mi ti si ci vi non molto più è sono "
        "era ha hanno ho sig. dott."
    ),
    "pt": _words(
        "o os as um uma uns umas este esta esse essa meu minha seu sua nosso nossa eu ele ela "
        "nós eles elas me te lhe não muito mais é são era foi tem têm está estão sr. sra. dr."
    ),
    "nl": _words(
        "de het een deze dit mijn jouw zijn haar ons onze hun ik jij je hij zij ze wij we niet "
        "geen heel is was waren heeft hebben had wordt werd kan moet zal dhr. mevr. dr."
    ),
    "ru": _words(
        "не ни я ты он она оно мы вы они этот эта это эти тот та те мой моя твой свой наш ваш "
        "его её их очень самый г. др. ул."
    ),
}

# What a line should not end with
FUNCTION_WORDS = {language: LINKS[language] | _LEADS[language] for language in LINKS}
