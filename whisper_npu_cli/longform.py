"""Sequential long-form transcription: where segments lie in a window, and where the next begins.

The algorithm is that of openai/whisper `transcribe.py`: windows of 30 s, each beginning at the
last timestamp that the window before it is sure of. Knows tokens and frames, no arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper_npu_cli.dims import FRAMES_PER_SECOND, N_FRAMES, TIME_PRECISION_S

FRAMES_PER_TIMESTAMP = round(TIME_PRECISION_S * FRAMES_PER_SECOND)  # 2


@dataclass(frozen=True)
class Span:
    """A segment's tokens, timestamps included, and its bounds in seconds within the window."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]


def window_size(seek: int, n_content_frames: int) -> int:
    """Return how many frames of the window at frame `seek` hold content."""
    return min(N_FRAMES, n_content_frames - seek)


def split_window(
    tokens: Sequence[int], timestamp_begin: int, n_frames: int
) -> tuple[list[Span], int]:
    """Split the tokens of a window with `n_frames` of content into segments.

    Returns the segments and the number of frames to advance. Two timestamps in a row end one
    segment and begin the next. A segment that has begun but not ended is left to the next
    window, unless the tokens end with a single timestamp: then nothing is spoken after it.
    """
    is_timestamp = [token >= timestamp_begin for token in tokens]
    cuts = [i for i in range(1, len(tokens)) if is_timestamp[i - 1] and is_timestamp[i]]
    ends_with_single = is_timestamp[-2:] == [False, True]
    if not cuts:
        return [_single_span(tokens, timestamp_begin, n_frames)], n_frames
    if ends_with_single:
        cuts.append(len(tokens))

    def seconds(token: int) -> float:
        return (token - timestamp_begin) * TIME_PRECISION_S

    starts = [0, *cuts[:-1]]
    spans = [
        Span(seconds(tokens[a]), seconds(tokens[b - 1]), tuple(tokens[a:b]))
        for a, b in zip(starts, cuts, strict=True)
    ]
    if ends_with_single:
        return spans, n_frames
    return spans, (tokens[cuts[-1] - 1] - timestamp_begin) * FRAMES_PER_TIMESTAMP


def _single_span(tokens: Sequence[int], timestamp_begin: int, n_frames: int) -> Span:
    """All tokens as one segment, to the last timestamp or to the end of the content."""
    timestamps = [token for token in tokens if token >= timestamp_begin]
    end_s = n_frames / FRAMES_PER_SECOND
    if timestamps and timestamps[-1] != timestamp_begin:
        end_s = (timestamps[-1] - timestamp_begin) * TIME_PRECISION_S
    return Span(0.0, end_s, tuple(tokens))
