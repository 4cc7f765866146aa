"""Listening to samples by a clock that leaps over the waits, and how long each word waited."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.real_speech import split_words
from whisper_npu_cli.audio.live import Clock, PlayedSource
from whisper_npu_cli.audio.sources import SamplesSource
from whisper_npu_cli.longform.events import LiveOptions, Settled
from whisper_npu_cli.options import TranscribeOptions, WordOptions
from whisper_npu_cli.pipeline import Transcriber
from whisper_npu_cli.transcript import Word

OPTIONS = TranscribeOptions(language="en", words=WordOptions())
# A word that is matched further from where it was said is another one with the same text.
_NEAR_S = 1.0


class WorkClock:
    """A clock on which computing takes its time, and waits take none."""

    def __init__(self) -> None:
        self._leapt_s = 0.0

    def now(self) -> float:
        """Return seconds."""
        return perf_counter() + self._leapt_s

    def sleep(self, seconds: float) -> None:
        """Leap ahead, or with a negative number back."""
        self._leapt_s += seconds


@dataclass(frozen=True)
class Spoken:
    """A word that was settled: when its audio was heard, and when it was told by the clock."""

    word: Word
    audio_s: float
    clock_s: float


@dataclass(frozen=True)
class Run:
    """What came of listening once."""

    spoken: Sequence[Spoken]
    last_lag_s: float
    memory_mb: Sequence[float]  # at each minute
    n_windows: int

    @property
    def words(self) -> list[Word]:
        """All that was settled."""
        return [one.word for one in self.spoken]


@contextmanager
def encoding_takes(
    transcriber: Transcriber, clock: WorkClock, encode_s: float | None
) -> Iterator[None]:
    """Let a window be encoded in `encode_s` by the clock, however long it takes here."""
    if encode_s is None:
        yield
        return
    encoder: Any = transcriber.engines.encoder
    encode = encoder.encode

    def charged(mel: NDArray[np.float32]) -> Any:
        start = perf_counter()
        window = encode(mel)
        clock.sleep(encode_s - (perf_counter() - start))
        return window

    encoder.encode = charged
    try:
        yield
    finally:
        del encoder.encode


def listen(
    transcriber: Transcriber, samples: NDArray[np.float32], live: LiveOptions, clock: Clock
) -> Run:
    """Listen to all of the samples."""
    job = transcriber.listen(PlayedSource(SamplesSource(samples), clock), OPTIONS, live, clock)
    spoken, memory_mb, lag_s = list[Spoken](), list[float](), 0.0
    for event in job:
        if event.audio_s // 60 > len(memory_mb):
            memory_mb.append(_read_memory_mb())
        if isinstance(event, Settled):
            words = event.segment.words or ()
            spoken += [Spoken(word, event.audio_s, event.clock_s) for word in words]
        lag_s = event.lag_s
    rows = {row.stage: row.calls for row in job.stopwatch.read().rows}
    return Run(spoken, lag_s, memory_mb, rows.get("encode", 0))


def _read_memory_mb() -> float:
    """Return the memory that this process has resident now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_delays(said: Sequence[Word], run: Run) -> tuple[list[float], list[float]]:
    """Return for each word that both wrote the seconds from its end to its settled text.

    The first are of the audio, as if computing took no time, the second of the clock.
    """
    pairs = [
        (said[a], run.spoken[b])
        for a, b in match(said, [one.word.word for one in run.spoken])
        if abs(said[a].end - run.spoken[b].word.end) < _NEAR_S
    ]
    unaware = [one.audio_s - word.end for word, one in pairs]
    return unaware, [one.clock_s - word.end for word, one in pairs]


def match(said: Sequence[Word], heard: Sequence[str]) -> list[tuple[int, int]]:
    """Return which of the words that were said are which of those heard."""
    names, found = (
        [str(split_words(text)[:1]) for text in texts]
        for texts in ([word.word for word in said], heard)
    )
    blocks = SequenceMatcher(None, names, found, autojunk=False).get_matching_blocks()
    return [(a + i, b + i) for a, b, n in blocks for i in range(n)]
