"""Real recordings of `shared/audio`: what is said in them, and a long recording made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.places import SHARED
from whisper_npu_cli.dims import SAMPLE_RATE

AUDIO = SHARED / "audio"
JFK = (
    "And so my fellow Americans, ask not what your country can do for you, ask what you can do "
    "for your country."
)
ENGLISH = {
    "jfk.flac": JFK,
    "jfk.mp3": JFK,
    "jfk_441khz.m4a": JFK,
    "librispeech_61-70968-0000.wav": "HE BEGAN A CONFUSED COMPLAINT AGAINST THE WIZARD WHO HAD "
    "VANISHED BEHIND THE CURTAIN ON THE LEFT",
    "librispeech_1089-134686-0009.wav": "AT MOST BY AN ALMS GIVEN TO A BEGGAR WHOSE BLESSING HE "
    "FLED FROM HE MIGHT HOPE WEARILY TO WIN FOR HIMSELF SOME MEASURE OF ACTUAL GRACE",
    "librispeech_3570-5694-0000.wav": "BUT ALREADY AT A POINT IN ECONOMIC EVOLUTION FAR "
    "ANTEDATING THE EMERGENCE OF THE LADY SPECIALISED CONSUMPTION OF GOODS AS AN EVIDENCE OF "
    "PECUNIARY STRENGTH HAD BEGUN TO WORK OUT IN A MORE OR LESS ELABORATE SYSTEM",
    "fleurs_en_01.wav": "when you call someone who is thousands of miles away you are using a "
    "satellite",
    "fleurs_en_02.wav": "the u.n. also hopes to finalize a fund to help countries affected by "
    "global warming to cope with the impacts",
    "fleurs_en_03.wav": "then lakkha singh took the lead in singing the bhajans",
    "fleurs_en_04.wav": "the major religion in moldova is orthodox christian",
    "beckett.wav": "ever tried ever failed no matter try again fail again fail better",
}
RUSSIAN = {
    "fleurs_ru_02.wav": "он сказал что создал дверной звонок работающий от wifi",
    "fleurs_ru_05.wav": "робин утхаппа набрал рекордное количество очков в иннинге 70 ранов за "
    "всего 41 подачу отбил 11 четвёрок и 2 шестёрки",
    "fleurs_ru_08.wav": "вариант становящийся всё более популярным для тех кто планирует взять "
    "академический год это путешествовать и учиться",
}
# Sentences of one recording, from and to these seconds: what they say is known by what is heard
GERMAN = {
    f"two_languages.mp3 from {start} s": (start, end)
    for start, end in ((31.0, 41.9), (42.0, 50.16), (50.16, 59.9))
}
CLIPS = {"tiny.en": tuple(ENGLISH), "base": (*ENGLISH, *RUSSIAN)}
LONG = "long"  # the name of the composed recording
_ONCE = [name for name in ENGLISH if name not in ("jfk.mp3", "jfk_441khz.m4a")]
LONG_ORDER = (*_ONCE, *_ONCE[::-1][1:])  # no sentence follows itself


def read_clip(name: str) -> NDArray[np.float32]:
    """Return the samples (n,) at SAMPLE_RATE of a recording, a part of one or the long one."""
    from whisper_npu_cli.audio.sources import (
        FileSource,
    )  # the peers, who are given samples, lack it

    if name == LONG:
        return compose_long()
    if name in GERMAN:
        start, end = GERMAN[name]
        both = read_clip("two_languages.mp3")
        return both[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    return np.concatenate(list(FileSource(Path(AUDIO, name)).blocks()))


def compose_long(names: Sequence[str] = LONG_ORDER) -> NDArray[np.float32]:
    """Return the clips, 2.5 minutes by default, with pauses of 0.3 to 6 s over faint hiss."""
    rng = np.random.default_rng(0)
    pieces: list[NDArray[np.float32]] = []
    for name in names:
        pause_s = 0.3 + 5.7 * rng.random() ** 2
        hiss = 1e-4 * rng.standard_normal(round(pause_s * SAMPLE_RATE))
        clip = read_clip(name)
        # At one level: two of the clips are at -60 dBFS, and no program hears these among others.
        pieces += [hiss.astype(np.float32), clip * np.float32(0.5 / np.abs(clip).max())]
    return np.concatenate(pieces)


def compose_sentences(
    names: Sequence[str], gains: Sequence[float]
) -> tuple[NDArray[np.float32], list[tuple[float, float]]]:
    """Return clips of one peak times their `gains`, after 0.5 to 3.5 s of hiss, and their times."""
    rng = np.random.default_rng(0)
    pieces: list[NDArray[np.float32]] = []
    for name, gain in zip(names, gains, strict=True):
        pause_s = 0.5 + 3 * rng.random()
        pieces += [
            make_hiss(pause_s, int(rng.integers(1_000_000))),
            read_peak(name) * np.float32(gain),
        ]
    return _join(pieces)


def compose_languages(
    first: Sequence[str], second: Sequence[str], pause_s: float
) -> tuple[NDArray[np.float32], list[tuple[float, float]]]:
    """Return clips of two languages with a pause between these, and the times of the clips."""
    pieces: list[NDArray[np.float32]] = []
    for i, name in enumerate([*first, *second]):
        pieces += [make_hiss(pause_s if i == len(first) else 0.5, seed=i), read_peak(name)]
    return _join(pieces)


def read_peak(name: str) -> NDArray[np.float32]:
    """Return a clip (n,) whose peak is -6 dBFS."""
    clip = read_clip(name)
    return clip * np.float32(0.5 / np.abs(clip).max())


def make_hiss(duration_s: float, seed: int) -> NDArray[np.float32]:
    """Return noise (n,) at -100 dBFS."""
    rng = np.random.default_rng(seed)
    return (1e-5 * rng.standard_normal(round(duration_s * SAMPLE_RATE))).astype(np.float32)


def _join(
    pieces: Sequence[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], list[tuple[float, float]]]:
    """Return pauses and clips in turn as one, and the times of the clips."""
    ends = np.cumsum([piece.size for piece in pieces]) / SAMPLE_RATE
    return np.concatenate(pieces), list(zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True))


def split_words(text: str) -> list[str]:
    """Return the words of a text in small letters, without punctuation."""
    return re.findall(r"[\w']+", text.lower())
