"""`docs/accuracy.md`: recordings of people, and OpenAI's tiny.en and base.

Error rates are of words as openai-whisper's normalisers write them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import soundfile

from tests.support.real_models import SHA256, fetch_real_models
from tests.support.real_speech import ENGLISH, LONG, LONG_ORDER, RUSSIAN, read_clip
from tools.peers.comparison import (
    FASTER,
    LONG_OPTIONS,
    ORIGINAL,
    Clip,
    Contender,
    Results,
    Trial,
    compute_error_rate,
    introduce,
    join_text,
    list_contenders,
)
from tools.peers.workers import Text, convert, normalize
from whisper_npu_cli.dims import SAMPLE_RATE

SEARCHES: dict[str, dict[str, Any]] = {"greedy": {}, "beam 5": {"beam": 5}}
# Their text is not known, not one, or another recording's: for comparison with openai-whisper.
UNSCORED = (
    "jfk.mp3",
    "jfk_441khz.m4a",
    "8_channel.m4a",
    "pcm_u8.wav",
    "stereo_two_speakers.wav",
)
SAID = {
    "English": ("en", ENGLISH | dict.fromkeys(UNSCORED, "")),
    "Russian": ("ru", RUSSIAN),
}
Words = dict[Text, list[str]]


def prepare(folder: Path, peers: str) -> dict[str, list[Contender]]:
    """Write files and models into `folder`; return the contenders by model."""
    clips, long = {language: write_clips(folder, language) for language in SAID}, write_long(folder)
    contenders = {}
    for name, model in fetch_real_models().items():
        trials = [
            Trial(name_trial(language, search), heard, options)
            for language, heard in clips.items()
            if language == "English" or not name.endswith(".en")
            for search, options in SEARCHES.items()
        ]
        trials += [Trial(mode, [long], options) for mode, options in LONG_OPTIONS.items()]
        openai = folder / f"{name}.pt"
        convert(peers, "openai-whisper", model, openai)
        contenders[name] = list_contenders(model, openai, model, trials)
    return contenders


def name_trial(language: str, search: str) -> str:
    """Return the name of the trial of a language's clips with one search."""
    return f"{language}, {search}"


def write_clips(folder: Path, language: str) -> list[Clip]:
    """Write the recordings of a language so that all programs can read them."""
    code, texts = SAID[language]
    return [
        Clip(write_samples(folder, name), text.split(), language=code)
        for name, text in texts.items()
    ]


def write_long(folder: Path) -> Clip:
    """Write the composed recording."""
    return Clip(write_samples(folder, LONG), " ".join(ENGLISH[name] for name in LONG_ORDER).split())


def write_samples(folder: Path, name: str) -> str:
    """Write one recording at SAMPLE_RATE; return its path."""
    path = str(folder / f"{name}.wav")
    soundfile.write(path, read_clip(name), SAMPLE_RATE, "FLOAT")
    return path


def collect_texts(clips: dict[str, Sequence[Clip]], results: dict[str, Results]) -> set[Text]:
    """Return all that was said and all that was written, of one model; clips are by trial."""
    texts = {(clip.language, clip.text) for heard in clips.values() for clip in heard}
    for result in results.values():
        for name, files in result.segments.items():
            texts |= {
                (clip.language, join_text(file))
                for clip, file in zip(clips[name], files, strict=True)
            }
    return texts


def compute_rate(clips: Sequence[Clip], files: Sequence[Sequence[Any]], words: Words) -> float:
    """Return the share of wrong words in the clips whose text is known."""
    scored = [(clip, file) for clip, file in zip(clips, files, strict=True) if clip.words]
    return compute_error_rate(
        [words[clip.language, clip.text] for clip, _ in scored],
        [words[clip.language, join_text(file)] for clip, file in scored],
    )


def make_clip_tables(
    model: str, clips: dict[str, Sequence[Clip]], results: dict[str, Results], words: Words
) -> Iterator[str]:
    """Yield the lines on one model's clips, by language; clips are by trial."""
    for language in SAID:
        if heard := clips.get(name_trial(language, "greedy")):
            yield from (f"## {model}, {language}", "", describe_clips(heard, words), "")
            yield from (*make_clip_rows(heard, language, results, words), "")


def make_clip_rows(
    clips: Sequence[Clip], language: str, results: dict[str, Results], words: Words
) -> Iterator[str]:
    """Yield the table of a model on the clips of a language."""
    columns = (f"{search}: word error rate | same text" for search in SEARCHES)
    yield f"| program | {' | '.join(columns)} |"
    yield "|---|" + "---|---|" * len(SEARCHES)
    for program, result in results.items():
        cells = []
        for search in SEARCHES:
            name = name_trial(language, search)
            original = map(join_text, results[ORIGINAL].segments[name])
            files = result.segments[name]
            n_same = sum(a == b for a, b in zip(original, map(join_text, files), strict=True))
            cells.append(f"{compute_rate(clips, files, words):.1%} | {n_same} of {len(files)}")
        yield f"| {program} | {' | '.join(cells)} |"


def make_long_rows(
    clips: Sequence[Clip], models: dict[str, dict[str, Results]], words: Words
) -> Iterator[str]:
    """Yield the table of the composed recording."""
    yield f"| model | program | {' | '.join(LONG_OPTIONS)} |"
    yield "|---|---|" + "---|" * len(LONG_OPTIONS)
    for model, results in models.items():
        for program, result in results.items():
            cells = [
                f"{compute_rate(clips, files, words):.1%}"
                if (files := result.segments.get(mode))
                else "–"
                for mode in LONG_OPTIONS
            ]
            yield f"| {model} | {program} | {' | '.join(cells)} |"


def write_page(
    contenders: dict[str, list[Contender]], models: dict[str, dict[str, Results]], peers: str
) -> str:
    """Return the page; contenders and results are by model, `peers` has the normalisers."""
    clips = {
        model: {trial.name: trial.clips for trial in rows[-1].trials}
        for model, rows in contenders.items()
    }
    texts = [collect_texts(clips[model], results) for model, results in models.items()]
    words = normalize(peers, sorted(set().union(*texts)))
    tables = chain.from_iterable(
        make_clip_tables(model, clips[model], results, words) for model, results in models.items()
    )
    (long,) = clips["base"]["batched"]
    weights = " and ".join(f"{name} (sha256 {digest[:12]})" for name, digest in SHA256.items())
    return f"""# Accuracy

{introduce(result for results in models.values() for result in results.values())}

Tokens and word times are compared on [spoken digits](accuracy-digits.md), whose true times are
known.

The weights are OpenAI's, as CTranslate2's fp16 files from the package index: {weights}.
This program and {FASTER} read them as they are, {ORIGINAL} reads the same weights in a file of its
own. The language is given. Words are compared as {ORIGINAL}'s normalisers write them. Same text: in
how many recordings a program writes what {ORIGINAL} writes, to the comma. Some of these have no
known text, or are another one in another format: they have no part in the error rates.

{chr(10).join(tables)}
## {compute_minutes([long]):.1f} minutes of English

The English recordings forth and back, {len(words[long.language, long.text])} words, with pauses of
0.3 to 6 s over faint hiss, greedy. Where windows end decides much: one sentence that is left out at
the edge of a window is 2 to 11 points.

{chr(10).join(make_long_rows([long], models, words))}
"""


def describe_clips(clips: Sequence[Clip], words: Words) -> str:
    """Return a sentence about how much speech there is."""
    scored = [clip for clip in clips if clip.words]
    n_words, minutes = sum(len(words[c.language, c.text]) for c in scored), compute_minutes(scored)
    return (
        f"Error rates of {len(scored)} recordings, {minutes:.1f} minutes, {n_words} words: one "
        f"word is {1 / n_words:.1%}."
    )


def compute_minutes(clips: Sequence[Clip]) -> float:
    """Return the length of the files together."""
    return float(sum(soundfile.info(clip.path).duration for clip in clips)) / 60
