"""Segments of a window's tokens, and the frame at which the next window begins.

The algorithm is that of openai/whisper `transcribe.py`, in both long-form modes: windows of at
most 30 s, each decided up to its last certain timestamp. This module knows tokens and frames, no
arrays.

One thing differs: no segment ends beyond the content of its window. openai/whisper lets segments
end after the end of the audio, or within audio that the clips leave out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.decoding.retry import DecodedWindow
from whisper_npu_cli.dims import FRAMES_PER_SECOND, TIME_PRECISION_S
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.transcript import Segment

FRAMES_PER_TIMESTAMP = round(TIME_PRECISION_S * FRAMES_PER_SECOND)  # 2


@dataclass(frozen=True)
class TimedTokens:
    """A segment's tokens, timestamps included, and its bounds in seconds within the window."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]


def make_segments(
    decoded: DecodedWindow, tokenizer: Tokenizer, window: Window
) -> tuple[list[Segment], int]:
    """Return the segments of a decoded window, and the number of frames to advance.

    Segments are numbered from 0.
    """
    n_frames, logprobs = window.n_frames, iter(decoded.logprobs)
    spans, advance = split_tokens(decoded.tokens, tokenizer.timestamp_begin, n_frames)
    offset_s, limit_s = window.start_s, n_frames / FRAMES_PER_SECOND
    segments = [
        Segment(
            id=i,
            seek=window.start,
            start=offset_s + min(span.start_s, limit_s),
            end=offset_s + min(span.end_s, limit_s),
            text=tokenizer.decode(span.tokens),
            tokens=span.tokens,
            temperature=decoded.temperature,
            avg_logprob=decoded.avg_logprob,
            compression_ratio=decoded.compression_ratio,
            no_speech_prob=decoded.no_speech_prob,
            language=decoded.language,
            logprobs=tuple(islice(logprobs, len(span.tokens))) or None,
        )
        for i, span in enumerate(spans)
    ]
    return segments, min(advance, n_frames)


def drop_empty(segments: Sequence[Segment]) -> list[Segment]:
    """Drop segments without text or duration; openai/whisper keeps them, without their text."""
    return [s for s in segments if s.start != s.end and s.text.strip()]


def ends_in_silence(tokens: Sequence[int], timestamp_begin: int) -> bool:
    """Return whether the tokens end with a single timestamp, after which nothing is spoken."""
    return [token >= timestamp_begin for token in tokens[-2:]] == [False, True]


def split_tokens(
    tokens: Sequence[int], timestamp_begin: int, n_frames: int
) -> tuple[list[TimedTokens], int]:
    """Split the tokens of a window with `n_frames` of content into segments.

    Returns the segments and the number of frames to advance. Two timestamps in a row end one
    segment and begin the next. A segment that has begun but not ended is left to the next
    window. A single timestamp at the end means that nothing is spoken after it.
    """
    is_timestamp = [token >= timestamp_begin for token in tokens]
    cuts = [i for i in range(1, len(tokens)) if is_timestamp[i - 1] and is_timestamp[i]]
    if not cuts:
        return [_take_single_span(tokens, timestamp_begin, n_frames)], n_frames
    is_last = ends_in_silence(tokens, timestamp_begin)
    if is_last:
        cuts.append(len(tokens))

    def seconds(token: int) -> float:
        return (token - timestamp_begin) * TIME_PRECISION_S

    starts = [0, *cuts[:-1]]
    spans = [
        TimedTokens(seconds(tokens[a]), seconds(tokens[b - 1]), tuple(tokens[a:b]))
        for a, b in zip(starts, cuts, strict=True)
    ]
    if is_last:
        return spans, n_frames
    return spans, (tokens[cuts[-1] - 1] - timestamp_begin) * FRAMES_PER_TIMESTAMP


def _take_single_span(tokens: Sequence[int], timestamp_begin: int, n_frames: int) -> TimedTokens:
    """Return all tokens as one segment, to the last timestamp or to the end of the content."""
    timestamps = [token for token in tokens if token >= timestamp_begin]
    end_s = n_frames / FRAMES_PER_SECOND
    if timestamps and timestamps[-1] != timestamp_begin:
        end_s = (timestamps[-1] - timestamp_begin) * TIME_PRECISION_S
    return TimedTokens(0.0, end_s, tuple(tokens))


def order_times(segments: Sequence[Segment], begin_s: float, end_s: float) -> list[Segment]:
    """Clip times that run backwards or out of the bounds; let each segment span its words."""
    result = []
    now = begin_s
    for segment in segments:
        words = []
        first_s = min([segment.start, *(word.start for word in (segment.words or ())[:1])])
        start = now = min(max(first_s, now), end_s)
        for word in segment.words or ():
            now = min(max(word.start, now), end_s)
            begun, now = now, min(max(word.end, now), end_s)
            words.append(replace(word, start=begun, end=now))
        now = min(max(segment.end, now), end_s)
        ordered = None if segment.words is None else tuple(words)
        result.append(replace(segment, start=start, end=now, words=ordered))
    return result
