"""Spans of audio in mel frames of 10 ms: cut to each other, and what one kind leaves of another."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from whisper_npu_cli.dims import FRAMES_PER_SECOND


class Span(NamedTuple):
    """The frames from `start` on and before `end`."""

    start: int
    end: int

    @property
    def seconds(self) -> tuple[float, float]:
        """Start and end in seconds."""
        return self.start / FRAMES_PER_SECOND, self.end / FRAMES_PER_SECOND


def round_span(start_s: float, end_s: float) -> Span:
    """Return the frames between two times in seconds, each rounded to a frame."""
    return Span(round(start_s * FRAMES_PER_SECOND), round(end_s * FRAMES_PER_SECOND))


def cut_spans(spans: Iterable[tuple[int, int]], limits: tuple[int, int]) -> list[Span]:
    """Return the parts of `spans` that lie within `limits`."""
    inside = (Span(max(a, limits[0]), min(b, limits[1])) for a, b in spans)
    return [span for span in inside if span.start < span.end]


def pick_spans(spans: Sequence[Span], limits: Span) -> Sequence[Span]:
    """Return those of `spans`, which are in order and apart, that reach into `limits`.

    An hour has 2,400 spans of speech, and ten questions of this kind for each of 700 segments.
    """
    first = bisect_right(spans, limits.start, key=lambda span: span.end)
    return spans[first : bisect_left(spans, limits.end, key=lambda span: span.start)]


def find_uncovered(
    speech: Iterable[tuple[int, int]], text: Iterable[tuple[int, int]], min_frames: int
) -> list[Span]:
    """Return where at least `min_frames` of `speech` are not covered by any span of `text`.

    Words are spans of their own: those less than `min_frames` apart, without text between them,
    count together.
    """
    spans = list(speech)
    is_speech, is_text = np.zeros((2, max((end for _, end in spans), default=0) + 1), np.bool_)
    for mask, marked in ((is_speech, spans), (is_text, text)):
        for start, end in marked:
            mask[start:end] = True
    edges = np.flatnonzero(np.diff(is_speech & ~is_text, prepend=False)).tolist()
    joined: list[Span] = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        last = joined[-1].end if joined else -min_frames
        if start - last < min_frames and not is_text[last:start].any():
            joined[-1] = Span(joined[-1].start, end)
        else:
            joined.append(Span(start, end))
    return [span for span in joined if is_speech[slice(*span)].sum() >= min_frames]
