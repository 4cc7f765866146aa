"""The text of an audio, as its windows are decided one after another, here or elsewhere.

Segments of windows in, segments of the audio out: in order, numbered, where speech is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from whisper_npu_cli.audio.mel import MelStats
from whisper_npu_cli.longform.guide import UNCOVERED_FRAMES, is_sparse, move_start
from whisper_npu_cli.longform.segments import order_times
from whisper_npu_cli.longform.windows import Decided
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.spans import Span, cut_spans, find_uncovered, round_span
from whisper_npu_cli.transcript import Progress, Segment


class Known(Protocol):
    """What is known of an audio, which may grow."""

    @property
    def stats(self) -> MelStats:
        """Its length."""

    @property
    def speech(self) -> Sequence[Span]:
        """Where somebody speaks."""

    @property
    def faint(self) -> Sequence[Span]:
        """What may be speech too."""

    def find_clips(self, clip_timestamps: Sequence[float]) -> list[Span]:
        """Return the clips that are wanted."""


class DecidedText:
    """The segments before frame `end_frame`, from an earlier `progress` on."""

    def __init__(self, options: TranscribeOptions, progress: Progress) -> None:
        self.segments = list(progress.segments)
        self.end_frame = progress.end_frame
        self._options = options

    def add(self, decided: Decided, audio: Known) -> list[Segment]:
        """Take what was decided of the next windows; return its segments."""
        n_before = len(self.segments)
        end_s = self.segments[-1].end if self.segments else 0.0
        for segment in decided.segments:
            (ordered,) = order_times([segment], end_s, audio.stats.duration_s)
            if self._options.vad_starts and self._options.words is None:
                ordered = move_start(ordered, audio.speech)
            self.segments.append(replace(ordered, id=len(self.segments)))
            end_s = ordered.end
        self.end_frame = decided.end_frame
        return self.segments[n_before:]

    def find_uncovered(self, audio: Known) -> tuple[tuple[float, float], ...]:
        """Return the speech within what is decided that has no text, in seconds."""
        clips = audio.find_clips(self._options.clip_timestamps)
        heard = [*audio.speech, *audio.faint]
        speech = [span for clip in clips for span in cut_spans(heard, clip)]
        decided = cut_spans(speech, (0, self.end_frame))
        text = [
            round_span(segment.start, segment.end)
            for segment in self.segments
            if not is_sparse(segment, audio.speech)
        ]
        return tuple(span.seconds for span in find_uncovered(decided, text, UNCOVERED_FRAMES))
