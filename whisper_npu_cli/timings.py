"""Wall-clock time per stage, and the rates made of it.

A stage is one arrow of the pipeline. `rtf` is seconds of work per second of audio (lower is
better), `speed` its inverse: how many times faster than realtime.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

STAGES = ("load", "audio", "vad", "mel", "encode", "decode", "align", "write")


@dataclass
class StageTiming:
    """What one stage took: `seconds` in `calls` calls, computed by `engines`."""

    stage: str
    engines: list[str] = field(default_factory=list)  # in the order of their first calls
    seconds: float = 0.0
    calls: int = 0
    tokens: int = 0

    @property
    def engine(self) -> str:
        """The engines as one text; several where one gave up, whose time is not told apart."""
        return ", ".join(self.engines)

    def add_engine(self, name: str) -> None:
        """Note that the engine `name` computed a call."""
        if name not in self.engines:
            self.engines.append(name)

    def rtf(self, audio_s: float) -> float | None:
        """Return seconds of work per second of audio, or None without audio."""
        return self.seconds / audio_s if audio_s > 0 else None

    def speed(self, audio_s: float) -> float | None:
        """Return the times-realtime factor, or None where nothing was measured."""
        return audio_s / self.seconds if self.seconds > 0 else None


class _Running(threading.local):
    """The stages that are running in one thread, outermost first."""

    def __init__(self) -> None:
        self.stages: list[StageTiming] = []
        self.since = 0.0  # when the innermost one began or went on


class Timings:
    """The stages of one transcription, over `audio_s` seconds of audio.

    Stages may nest (mel pulls audio): the time of the inner one is not counted in the outer.
    Stages of different threads run at the same time, so that `total_s`, the time in which any
    ran, may be less than their sum.
    """

    def __init__(self) -> None:
        self.audio_s = 0.0
        self.total_s = 0.0
        self._stages: dict[str, StageTiming] = {}
        self._running = _Running()
        self._lock = threading.Lock()
        self._n_running = 0  # stages, of all threads
        self._changed = 0.0  # when that number did

    @contextmanager
    def measure(self, stage: str, engine: str = "") -> Iterator[StageTiming]:
        """Add the time of the enclosed block to `stage`; the block may add tokens and engines."""
        if stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}")
        timing = self._stages.setdefault(stage, StageTiming(stage))
        if engine:
            timing.add_engine(engine)
        self._change(+1)
        self._running.stages.append(timing)
        try:
            yield timing
        finally:
            self._change(-1)
            self._running.stages.pop()
            timing.calls += 1

    def _change(self, count: int) -> None:
        """Give the time since the last change to this thread's innermost stage."""
        with self._lock:
            now, running = perf_counter(), self._running
            if running.stages:
                running.stages[-1].seconds += now - running.since
            if self._n_running:
                self.total_s += now - self._changed
            self._n_running += count
            running.since = self._changed = now

    @property
    def rows(self) -> list[StageTiming]:
        """The measured stages in pipeline order."""
        return [self._stages[name] for name in STAGES if name in self._stages]
