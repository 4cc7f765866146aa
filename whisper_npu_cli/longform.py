"""Sequential long-form transcription: where segments lie in a window, and where the next begins.

The algorithm is that of openai/whisper `transcribe.py`: windows of 30 s, each beginning at the
last timestamp that the window before it is sure of. Knows tokens and frames, no arrays.

One thing differs: nothing lies beyond the content of its window. There openai/whisper lets
segments end after the end of the audio, or in the middle of what a clip leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from whisper_npu_cli.decoder.fallback import DecodedWindow
from whisper_npu_cli.dims import FRAMES_PER_SECOND, TIME_PRECISION_S
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.tokenizer import Tokenizer
from whisper_npu_cli.transcript import Segment

FRAMES_PER_TIMESTAMP = round(TIME_PRECISION_S * FRAMES_PER_SECOND)  # 2


@dataclass(frozen=True)
class Span:
    """A segment's tokens, timestamps included, and its bounds in seconds within the window."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]


def clip_frames(clip_timestamps: Sequence[float], n_frames: int) -> list[tuple[int, int]]:
    """Return the frames of each clip of `clip_timestamps`, start, end, start, … in seconds.

    The last end may be left out, and is never after `n_frames`; no clips are the whole audio.
    UsageError where a time is before the one ahead of it.
    """
    if any(a > b for a, b in pairwise([0.0, *clip_timestamps])):
        raise UsageError("clip timestamps must not decrease")
    points = [min(round(s * FRAMES_PER_SECOND), n_frames) for s in clip_timestamps] or [0]
    if len(points) % 2:
        points.append(n_frames)
    return list(zip(points[::2], points[1::2], strict=True))


def window_segments(
    decoded: DecodedWindow, tokenizer: Tokenizer, seek: int, n_frames: int
) -> tuple[list[Segment], int]:
    """Return the segments of the window at frame `seek`, and the number of frames to advance.

    Segments are numbered from 0. One without text or without duration is left out, where
    openai/whisper keeps it but empties it.
    """
    spans, advance = split_window(decoded.tokens, tokenizer.timestamp_begin, n_frames)
    offset_s, limit_s = seek / FRAMES_PER_SECOND, n_frames / FRAMES_PER_SECOND
    said = [(span, tokenizer.decode(span.tokens)) for span in spans if span.start_s != span.end_s]
    segments = [
        Segment(
            id=i,
            seek=seek,
            start=offset_s + min(span.start_s, limit_s),
            end=offset_s + min(span.end_s, limit_s),
            text=text,
            tokens=span.tokens,
            temperature=decoded.temperature,
            avg_logprob=decoded.avg_logprob,
            compression_ratio=decoded.compression_ratio,
            no_speech_prob=decoded.no_speech_prob,
            language=decoded.language,
        )
        for i, (span, text) in enumerate((span, text) for span, text in said if text.strip())
    ]
    return segments, min(advance, n_frames)


def in_order(segment: Segment, earliest_s: float, latest_s: float) -> Segment:
    """Return the segment within its bounds: no times run backwards or past the audio."""
    start = min(max(segment.start, earliest_s), latest_s)
    return replace(segment, start=start, end=min(max(segment.end, start), latest_s))


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
