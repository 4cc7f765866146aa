"""The seam of live transcription: when words are decoded and settled; and the simpler way.

An utterance so far in, text that changes no more out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from whisper_npu_cli.longform.batched import transcribe_batched
from whisper_npu_cli.longform.guide import Guide
from whisper_npu_cli.longform.hearing import Arriving
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.transcript import Segment


@dataclass(frozen=True)
class Heard:
    """What was made of an utterance so far: new text that is settled, and what may change."""

    settled: Sequence[Segment] = ()
    tail: str = ""


class Policy(Protocol):
    """When words are decoded, and when they are settled.

    A window begins where the policy asks for, or where the utterance does.
    """

    start: int  # the frame before which it needs nothing any more

    def follow(self, window: Window) -> Heard:
        """Take an utterance that goes on, up to all that was heard."""

    def finish(self, window: Window, *, is_cut: bool) -> Heard:
        """Take an utterance that has ended, or that `is_cut`: the speech goes on without pause."""


class Utterances:
    """Decode what was said once the speaker pauses, each utterance as a window of batched mode."""

    def __init__(self, audio: Arriving, stages: Stages, guide: Guide) -> None:
        self.start = 0
        self._audio = audio
        self._stages = stages
        self._guide = guide

    def follow(self, window: Window) -> Heard:
        """Wait for its end."""
        del window
        return Heard()

    def finish(self, window: Window, *, is_cut: bool) -> Heard:
        """Decode and settle it."""
        del is_cut
        if not self._stages.is_language_sure:
            mel = self._audio.window(window.start, window.end)
            self._stages.detect_language([(mel, window.start)])
        one = iter([window])
        (decided,) = transcribe_batched(self._audio, self._stages, one, 1, self._guide)
        self.start = window.until
        return Heard(decided.segments)
