"""Windows: the stretches of mel to decode, planned for both long-form modes.

A window is at most 30 s of mel. Its content ends at `end`; what the encoder hears after it is
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
    """Content from frame `start` up to `end`; nothing needs decoding from `until` on.

    `until` is the end of the speech in the window, or of the clip, which may be after the window.
    """

    start: int
    end: int
    until: int

    @property
    def n_frames(self) -> int:
        """Number of frames of content."""
        return self.end - self.start

    @property
    def start_s(self) -> float:
        """Start of the window in seconds."""
        return self.start / FRAMES_PER_SECOND

    @property
    def end_s(self) -> float:
        """End of the content in seconds."""
        return self.end / FRAMES_PER_SECOND

    @property
    def padded_end_s(self) -> float:
        """End of the padding in seconds."""
        return (self.start + N_FRAMES) / FRAMES_PER_SECOND


@dataclass(frozen=True)
class Decided:
    """The segments of a stretch of audio that ends before frame `end_frame`."""

    segments: Sequence[Segment]
    end_frame: int


class MelSource(Protocol):
    """A source of mel windows, of audio that may go on."""

    @property
    def is_ended(self) -> bool:
        """Whether no more of the audio is to be heard."""

    @property
    def n_heard(self) -> int:
        """How many frames were heard, and the speech in them."""

    def reach(self, clip: Span, start: int) -> Span:
        """Hear a window of `clip` from frame `start` on; return the clip, cut at the audio's end.

        No window before `start` can be had after that.
        """
        ...

    def window(self, start: int, end: int) -> NDArray[np.float32]:
        """Return (n_mels, N_FRAMES): frames from `start` up to `end`, then zeros.

        `start` must not decrease from call to call.
        """
        ...


def plan_clips(clip_timestamps: Sequence[float], n_frames: int) -> list[Span]:
    """Return the frames of each clip of `clip_timestamps`, start, end, start, … in seconds.

    The last end may be left out. Ends are cut to `n_frames`. No timestamps mean the whole audio.
    Clips without a frame are left out.
    """
    points = [min(round(s * FRAMES_PER_SECOND), n_frames) for s in clip_timestamps] or [0]
    if len(points) % 2:
        points.append(n_frames)
    clips = zip(points[::2], points[1::2], strict=True)
    return [Span(start, end) for start, end in clips if start < end]


def make_window(start: int, clip: Span, end: int | None = None) -> Window:
    """Return the window from frame `start`, of 30 s or up to the end of the clip, or to `end`."""
    return Window(start, min(start + N_FRAMES, end or clip.end), clip.end)


def plan_ahead(
    settled: Sequence[Span], next_start: int, clip: Span, options: VadOptions, *, is_speaking: bool
) -> tuple[list[Window], list[Window]]:
    """Return the windows over speech that no later speech can change, and those that it may.

    It begins after frame `next_start`. The last span of `settled` may grow if `is_speaking`.
    """
    windows = plan_windows(settled, clip, options)
    if not windows:
        return [], []
    # From here on, speech would neither fit into the last window nor cut its padding.
    is_closed = next_start > windows[-1].start + options.max_frames + options.pad_frames
    n_final = len(windows) if is_closed and not is_speaking else len(windows) - 1
    return windows[:n_final], windows[n_final:]


def plan_windows(speech: Sequence[Span], clip: Span, options: VadOptions) -> list[Window]:
    """Return windows over all `speech` within `clip`, in order and of at most `max_frames`.

    Spans of speech share a window as long as they fit, with the silence between them, as in
    WhisperX; faster-whisper leaves out the silence, and its times must be mapped back. A window is
    padded at most to the middle of the silence beside it, and not at all where speech was cut.
    """
    merged: list[Span] = []
    for start, end in cut_spans(speech, clip):
        if merged and end - merged[-1].start + 2 * options.pad_frames <= options.max_frames:
            merged[-1] = Span(merged[-1].start, end)
        else:
            merged.append(Span(start, end))
    # Padding ends at the middle of each silence, and at the ends of the clip.
    limits = [clip.start, *((a.end + b.start) // 2 for a, b in pairwise(merged)), clip.end]
    return [
        Window(max(start - options.pad_frames, lower), min(end + options.pad_frames, upper), end)
        for (start, end), (lower, upper) in zip(merged, pairwise(limits), strict=False)
    ]
