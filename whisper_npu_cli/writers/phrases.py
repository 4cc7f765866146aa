"""Where the lines of subtitles may end, and where they end well: words in, pieces out.

It knows writing systems and languages, but neither widths that are allowed nor times.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from whisper_npu_cli.transcript import Segment, Word
from whisper_npu_cli.writers.function_words import FUNCTION_WORDS, LINKS

# How bad it is to end a line somewhere; the unit is the end of a clause
SENTENCE, CLAUSE, BEFORE_LINK, WITHIN_PHRASE, AFTER_FUNCTION_WORD = 0.0, 1.0, 2.5, 4.0, 10.0
_PAUSE_S = 0.25  # a shorter pause is between any words
_PAUSE_RELIEF = 3.0  # a second of pause makes a break so much better, until it is a clause's

_CLOSERS = "\"'’”»)]}」』）】"  # what may stand between the mark of an end and the space after it
_SENTENCE_END = re.compile(r"[.!?…。！？｡؟۔।॥]$")
_INITIAL = re.compile(r"(?!I)[A-ZÀ-ÞА-Я]\.")  # of a name; "I." ends a sentence
_CLAUSE_END = re.compile(r"([,;:、，；：،؛—–]|\.\.\.|…|-)$")
# Scripts without spaces between words whose characters are not wide: Thai, Lao, Burmese, Khmer
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
# Small kana (JIS X 4051's class of them, JLREQ cl-11), signs after numbers, and Thai and Lao vowels
# that are written after their consonant
_NEVER_FIRST = frozenset("ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶ°℃ะาำๅະາຳ")
_NEVER_LAST = frozenset("เแโใไເແໂໃໄ¿¡")  # vowels written before their consonant; Spanish openers
_FIRST_MARKS = {"Ps", "Pi"}  # Unicode's categories of brackets and quotes that open
_CURRENCY = "Sc"


@dataclass(frozen=True)
class Piece:
    """Words that are never separated. `text` has the space before them, if there is one."""

    words: tuple[Word, ...]
    text: str
    language: str
    width: int  # columns without the space
    lead: int  # columns of the space before it
    strain: float = SENTENCE  # how bad it is to end a line after it

    @property
    def start(self) -> float:
        """When its first word begins, in seconds."""
        return self.words[0].start

    @property
    def end(self) -> float:
        """When its last word ends, in seconds."""
        return self.words[-1].end

    @property
    def speaker(self) -> str | None:
        """Who says it."""
        return self.words[0].speaker


def measure_width(text: str) -> int:
    """Return the columns of a text: two for a wide character, none for one that combines.

    Wide is what Unicode's Standard Annex 11 (East Asian Width) calls W or F, so that a line of 42
    columns has 21 such characters.
    """
    return sum(
        0 if unicodedata.category(one) in {"Mn", "Me", "Cf"} else 2 if _is_wide(one) else 1
        for one in text
    )


def find_pieces(segments: Sequence[Segment], language: str, widest: int) -> list[Piece]:
    """Return the pieces of all words that have a text, in order.

    A word wider than `widest` columns is taken apart where its script has no spaces. `language`
    is that of segments which do not tell theirs.
    """
    pieces: list[Piece] = []
    for segment in segments:
        for word in _take_apart(segment.words or (), widest):
            spoken = segment.language or language
            if pieces and not _may_part(pieces[-1], word):
                pieces[-1] = _make_piece((*pieces[-1].words, word), spoken)
            else:
                pieces.append(_make_piece((word,), spoken))
    return [
        replace(piece, strain=_judge_end(piece, following))
        for piece, following in zip_longest(pieces, pieces[1:])
    ]


def _take_apart(words: Sequence[Word], widest: int) -> Iterator[Word]:
    """Yield the words with a text; of too wide ones the characters, which share the time equally.

    Space is only before a text, and then one.
    """
    space = ""
    for word in words:
        text = re.sub(r"\s+", " ", space + word.word)
        space = " " if text.endswith(" ") else ""
        text = text.rstrip()
        if not text:
            continue
        if measure_width(text.strip()) <= widest:
            yield replace(word, word=text)
            continue
        parts = re.findall(r" ?\S", text)
        step_s = (word.end - word.start) / len(parts)
        for i, part in enumerate(parts):
            start = word.start + i * step_s
            yield replace(word, word=part, start=start, end=start + step_s)


def _make_piece(words: tuple[Word, ...], language: str) -> Piece:
    text = "".join(word.word for word in words)
    bare = text.strip()
    return Piece(words, text, language, measure_width(bare), len(text) - len(bare))


def _may_part(piece: Piece, word: Word) -> bool:
    """Return whether a line may end between a piece and the word after it."""
    if piece.speaker != word.speaker:
        return True
    before, after = piece.text.strip(), word.word.strip()
    if _is_mark(before) or _is_mark(after):
        # An opening mark goes with what follows; any other, as French sets it, with what precedes.
        return not _is_opening(before[-1]) and (not _is_mark(after) or _is_opening(after[0]))
    if word.word[0] == " ":
        return True
    return _may_part_unspaced(before[-1], after[0])


def _may_part_unspaced(last: str, first: str) -> bool:
    """Return whether a line may end between two characters with no space between.

    It may in scripts without spaces, but no line begins with punctuation that closes, a small kana,
    a mark of length or repetition, or a combining sign, and none ends with what opens (the kinsoku
    of JIS X 4051; W3C's Requirements for Japanese Text Layout, 3.1.7 and 3.1.8).
    """
    if not any(_is_wide(one) or _UNSPACED.match(one) for one in (last, first)):
        return False
    kind = unicodedata.category(first)
    is_closing = kind[0] == "P" and kind not in _FIRST_MARKS
    is_attached = kind[0] == "M" or kind in {"Lm", "Sk"} or first in _NEVER_FIRST
    return not (is_closing or is_attached or _is_opening(last) or last in _NEVER_LAST)


def _is_wide(one: str) -> bool:
    return unicodedata.east_asian_width(one) in "WF"


def _is_mark(text: str) -> bool:
    """Return whether a text is punctuation alone."""
    return all(unicodedata.category(one)[0] == "P" for one in text)


def _is_opening(one: str) -> bool:
    return unicodedata.category(one) in {*_FIRST_MARKS, _CURRENCY} or one in "¿¡"


def _judge_end(piece: Piece, following: Piece | None) -> float:
    """Return how bad it is to end a line after `piece`: at sentences, then clauses, then pauses."""
    if following is None or piece.speaker != following.speaker:
        return SENTENCE
    text, after = piece.text.strip().rstrip(_CLOSERS), following.text.strip()
    last = text.rpartition(" ")[2].lstrip("\"'“«¿¡([")
    if last.lower() in FUNCTION_WORDS.get(piece.language, ()) or _INITIAL.fullmatch(last):
        return AFTER_FUNCTION_WORD
    if text.endswith("..."):
        return CLAUSE
    if _SENTENCE_END.search(text) and not after[0].islower():
        return SENTENCE
    if _CLAUSE_END.search(text):
        return CLAUSE
    begins_phrase = after.partition(" ")[0].lower() in LINKS.get(following.language, ())
    strain = BEFORE_LINK if begins_phrase else WITHIN_PHRASE
    pause_s = following.start - piece.end
    return max(CLAUSE, strain - _PAUSE_RELIEF * pause_s) if pause_s >= _PAUSE_S else strain
