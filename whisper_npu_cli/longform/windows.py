"""Which stretches of mel are decoded, and what the two long-form modes have in common.

A window is at most 30 s of mel; its content ends at `end`, and what the encoder hears after that is
padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.dims import FRAMES_PER_SECOND, N_FRAMES
from whisper_npu_cli.options import VadOptions
from whisper_npu_cli.spans import Span, cut_spans
from whisper_npu_cli.transcript import Segment


@dataclass(frozen=True)
class Window:
    """Content from frame `start` on and before `end`; nothing is to be decoded from `until` on.

    `until` is the end of the clip, which may come after this window, or of the speech in it.
    """

    start: int
    end: int
    until: int

    @property
    def n_frames(self) -> int:
        """Frames of content."""
        return self.end - self.start

    @property
    def start_s(self) -> float:
        """Where the window begins, in seconds."""
        return self.start / FRAMES_PER_SECOND

    @property
    def end_s(self) -> float:
        """Where its content ends, in seconds."""
        return self.end / FRAMES_PER_SECOND

    @property
    def padded_end_s(self) -> float:
        """Where its padding ends, in seconds."""
        return (self.start + N_FRAMES) / FRAMES_PER_SECOND


@dataclass(frozen=True)
class Decided:
    """The segments of a stretch of audio, which ends before frame `end_frame`."""

    segments: Sequence[Segment]
    end_frame: int


class MelSource(Protocol):
    """Where windows come from."""

    def window(self, start: int, end: int) -> NDArray[np.float32]:
        """Return (n_mels, N_FRAMES): frames from `start` on and before `end`, then zeros.

        Frames before an earlier `start` are gone.
        """
        ...


def plan_clips(clip_timestamps: Sequence[float], n_frames: int) -> list[Span]:
    """Return the frames of each clip of `clip_timestamps`, start, end, start, … in seconds.

    The last end may be left out, and is never after `n_frames`; no clips are the whole audio.
    Clips without a frame are left out.
    """
    points = [min(round(s * FRAMES_PER_SECOND), n_frames) for s in clip_timestamps] or [0]
    if len(points) % 2:
        points.append(n_frames)
    clips = zip(points[::2], points[1::2], strict=True)
    return [Span(start, end) for start, end in clips if start < end]


def window_at(start: int, clip: Span) -> Window:
    """Return the window from frame `start` of a clip, as long as both allow."""
    return Window(start, min(start + N_FRAMES, clip.end), clip.end)


def plan_windows(speech: Sequence[Span], clip: Span, options: VadOptions) -> list[Window]:
    """Return windows over all `speech` within `clip`: in order, apart, none over the maximum.

    Speech goes into one window as long as it fits, silence between included, as WhisperX does;
    faster-whisper leaves out the silence, and its times must be mapped back. A window is padded
    up to the middle of the silence to the next speech, and not at all where speech was cut.
    """
    merged: list[Span] = []
    for start, end in cut_spans(speech, clip):
        if merged and end - merged[-1].start + 2 * options.pad_frames <= options.max_frames:
            merged[-1] = Span(merged[-1].start, end)
        else:
            merged.append(Span(start, end))
    # A limit lies in the middle of each silence, and at the ends of the clip.
    limits = [clip.start, *((a.end + b.start) // 2 for a, b in pairwise(merged)), clip.end]
    return [
        Window(max(start - options.pad_frames, lower), min(end + options.pad_frames, upper), end)
        for (start, end), (lower, upper) in zip(merged, pairwise(limits), strict=False)
    ]
