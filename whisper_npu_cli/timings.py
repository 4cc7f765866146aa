"""Wall-clock time per stage, and the rates made of it.

A stage is one arrow of the pipeline. `rtf` is seconds of work per second of audio (lower is
better), `speed` its inverse: how many times faster than realtime.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter

STAGES = ("audio", "vad", "mel", "encode", "decode", "align", "write")


@dataclass(frozen=True)
class StageTiming:
    """What one stage took: `seconds` in `calls` calls over `audio_s` seconds of audio."""

    stage: str
    engine: str  # several with commas where one gave up, whose time is not told apart
    seconds: float
    calls: int
    tokens: int
    audio_s: float

    @property
    def rtf(self) -> float | None:
        """Seconds of work per second of audio, or None without audio."""
        return self.seconds / self.audio_s if self.audio_s > 0 else None

    @property
    def speed(self) -> float | None:
        """The times-realtime factor, or None where nothing was measured."""
        return self.audio_s / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True)
class Timings:
    """The stages of one transcription in pipeline order.

    Stages of different threads run at the same time, so that `total_s`, the time in which any
    ran, may be less than their sum.
    """

    audio_s: float
    total_s: float
    rows: tuple[StageTiming, ...]


def add_timings(timings: Sequence[Timings]) -> Timings:
    """Return the timings of transcriptions one after another as those of one."""
    audio_s = sum(one.audio_s for one in timings)
    sums: dict[tuple[str, str], StageTiming] = {}
    for row in (row for one in timings for row in one.rows):
        before = sums.get((row.stage, row.engine), StageTiming(row.stage, row.engine, 0.0, 0, 0, 0))
        sums[row.stage, row.engine] = replace(
            before,
            seconds=before.seconds + row.seconds,
            calls=before.calls + row.calls,
            tokens=before.tokens + row.tokens,
            audio_s=audio_s,
        )
    rows = sorted(sums.values(), key=lambda row: STAGES.index(row.stage))
    return Timings(audio_s, sum(one.total_s for one in timings), tuple(rows))


@dataclass
class Measured:
    """What a stage has taken so far; its blocks add tokens, and the engines that computed."""

    engines: list[str] = field(default_factory=list)  # in the order of their first calls
    seconds: float = 0.0
    calls: int = 0
    tokens: int = 0

    def add_engine(self, name: str) -> None:
        """Note that the engine `name` computed a call; an empty one is the host."""
        if name and name not in self.engines:
            self.engines.append(name)


class _Running(threading.local):
    """The stages that are running in one thread, outermost first."""

    def __init__(self) -> None:
        self.stages: list[Measured] = []
        self.since = 0.0  # when the innermost one began or went on


class Stopwatch:
    """Measures the stages of one transcription; `audio_s` is the length of its audio.

    Stages may nest (mel pulls audio): the time of the inner one is not counted in the outer.
    """

    def __init__(self) -> None:
        self.audio_s = 0.0
        self._total_s = 0.0
        self._stages: dict[str, Measured] = {}
        self._running = _Running()
        self._lock = threading.Lock()
        self._n_running = 0  # stages, of all threads
        self._changed = 0.0  # when that number did

    @classmethod
    def go_on_from(cls, timings: Timings) -> Stopwatch:
        """Return one that has measured `timings` already, here or elsewhere."""
        watch = cls()
        watch.audio_s, watch._total_s = timings.audio_s, timings.total_s
        for row in timings.rows:
            engines = row.engine.split(", ") if row.engine else []
            watch._stages[row.stage] = Measured(engines, row.seconds, row.calls, row.tokens)
        return watch

    @contextmanager
    def measure(self, stage: str, engine: str = "") -> Iterator[Measured]:
        """Add the time of the enclosed block to `stage`; the block may add tokens and engines."""
        if stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}")
        measured = self._stages.setdefault(stage, Measured())
        measured.add_engine(engine)
        self._change(+1)
        self._running.stages.append(measured)
        try:
            yield measured
        finally:
            self._change(-1)
            self._running.stages.pop()
            measured.calls += 1

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Count the enclosed block in no stage of this thread, nor in the total: it only waits."""
        running = self._running
        stages = running.stages
        self._change(-len(stages))
        running.stages = []
        try:
            yield
        finally:
            self._change(+len(stages))
            running.stages = stages

    def _change(self, count: int) -> None:
        """Give the time since the last change to this thread's innermost stage."""
        with self._lock:
            now, running = perf_counter(), self._running
            if running.stages:
                running.stages[-1].seconds += now - running.since
            if self._n_running:
                self._total_s += now - self._changed
            self._n_running += count
            running.since = self._changed = now

    def read(self) -> Timings:
        """Return what has been measured so far."""
        rows = tuple(
            StageTiming(
                stage=name,
                engine=", ".join(measured.engines),
                seconds=measured.seconds,
                calls=measured.calls,
                tokens=measured.tokens,
                audio_s=self.audio_s,
            )
            for name in STAGES
            if (measured := self._stages.get(name))
        )
        return Timings(self.audio_s, self._total_s, rows)
