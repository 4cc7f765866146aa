"""Wall-clock time per stage, and the rates made of it.

A stage is one arrow of the pipeline. `rtf` is seconds of work per second of audio (lower is
better), `speed` its inverse: how many times faster than realtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


class Timings:
    """The stages of one transcription, over `audio_s` seconds of audio.

    Stages may nest (mel pulls audio): the time of the inner one is not counted in the outer.
    """

    def __init__(self) -> None:
        self.audio_s = 0.0
        self._stages: dict[str, StageTiming] = {}
        self._running: list[StageTiming] = []
        self._since = 0.0  # when the innermost running stage began or went on

    @contextmanager
    def measure(self, stage: str, engine: str = "") -> Iterator[StageTiming]:
        """Add the time of the enclosed block to `stage`; the block may add `tokens`."""
        if stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}")
        timing = self._stages.setdefault(stage, StageTiming(stage))
        timing.engine = engine or timing.engine
        self._charge()
        self._running.append(timing)
        try:
            yield timing
        finally:
            self._charge()
            self._running.pop()
            timing.calls += 1

    def _charge(self) -> None:
        """Give the time since the last change to the innermost running stage."""
        now = perf_counter()
        if self._running:
            self._running[-1].seconds += now - self._since
        self._since = now

    @property
    def rows(self) -> list[StageTiming]:
        """The measured stages in pipeline order."""
        return [self._stages[name] for name in STAGES if name in self._stages]

    @property
    def total_s(self) -> float:
        """Seconds over all stages."""
        return sum(row.seconds for row in self.rows)
