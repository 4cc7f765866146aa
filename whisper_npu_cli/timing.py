"""Wall-clock time per stage, and the rates made of it.

A stage is one arrow of the pipeline. `rtf` is seconds of work per second of audio (lower is
better), `speed` its inverse: how many times faster than realtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

STAGES = ("load", "audio", "vad", "mel", "encode", "decode", "align", "write")


@dataclass
class StageTiming:
    """What one stage took: `seconds` in `calls` calls, computed by `engine`."""

    stage: str
    engine: str = ""
    seconds: float = 0.0
    calls: int = 0
    tokens: int = 0

    def rtf(self, audio_s: float) -> float | None:
        """Return seconds of work per second of audio, or None without audio."""
        return self.seconds / audio_s if audio_s > 0 else None

    def speed(self, audio_s: float) -> float | None:
        """Return the times-realtime factor, or None where nothing was measured."""
        return audio_s / self.seconds if self.seconds > 0 else None


@dataclass
class Timings:
    """The stages of one transcription, in pipeline order, over `audio_s` seconds of audio."""

    audio_s: float = 0.0
    stages: dict[str, StageTiming] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str, engine: str = "") -> Iterator[StageTiming]:
        """Add the time of the enclosed block to `stage`; the block may add `tokens`."""
        if stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}")
        timing = self.stages.setdefault(stage, StageTiming(stage))
        timing.engine = engine or timing.engine
        start = perf_counter()
        try:
            yield timing
        finally:
            timing.seconds += perf_counter() - start
            timing.calls += 1

    @property
    def rows(self) -> list[StageTiming]:
        """The measured stages in pipeline order."""
        return [self.stages[name] for name in STAGES if name in self.stages]

    @property
    def total_s(self) -> float:
        """Seconds over all stages."""
        return sum(row.seconds for row in self.stages.values())
