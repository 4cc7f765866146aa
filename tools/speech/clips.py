"""Clips of ten held-out digits with known text and times, by which a `demo` checkpoint is judged.

Recordings in, clips of CHUNK_S at SAMPLE_RATE out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tools.speech.composer import resample
from tools.speech.voices import find_word
from whisper_npu_cli.dims import N_SAMPLES, SAMPLE_RATE

Reader = Callable[[str], tuple[np.ndarray, int]]  # "0_george_3" -> samples and their rate


@dataclass
class Clip:
    """30 s of samples, the number before only zeros follow, the digits, and their times (s)."""

    samples: np.ndarray
    length: int
    digits: list[int]
    times: list[tuple[float, float]]


def compose_clip(rng: np.random.Generator, takes: list[tuple[int, str]], read: Reader) -> Clip:
    """Join recordings (digit, name) with pauses, and fill up with zeros."""
    samples = np.zeros(N_SAMPLES, np.float32)
    cursor, times = rng.uniform(0, 2), []
    for _digit, name in takes:
        take, rate = read(name)
        start, end = find_word(take, rate)
        take = resample(take, len(take) * SAMPLE_RATE // rate)
        first = int(cursor * SAMPLE_RATE)
        samples[first : first + len(take)] += take
        times.append((cursor + start, cursor + end))
        cursor += len(take) / SAMPLE_RATE + rng.uniform(0.1, 0.8)
    return Clip(
        samples, first + len(take) + SAMPLE_RATE // 5, [digit for digit, _name in takes], times
    )


def make_clips(read: Reader, speakers: list[str], indices: range, count: int) -> list[Clip]:
    """Return clips of ten digits: four in five of one speaker, in turn, the fifth of several."""
    rng = np.random.default_rng(99)
    clips = []
    for number in range(count):
        alone = speakers[number % len(speakers)]
        takes = []
        for digit in rng.integers(10, size=10):
            speaker = alone if number % 5 else speakers[rng.integers(len(speakers))]
            takes.append((int(digit), f"{digit}_{speaker}_{rng.choice(indices)}"))
        clips.append(compose_clip(rng, takes, read))
    return clips
