"""Long form: where segments lie in a window, and where the next begins.

The algorithm is that of openai/whisper `transcribe.py`, in both modes: windows of at most 30 s,
each of which decides up to the last timestamp that it is sure of. Knows tokens and frames, no
arrays.

One thing differs: nothing lies beyond the content of its window. There openai/whisper lets
segments end after the end of the audio, or in the middle of what a clip leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.decoding.retry import DecodedWindow
from whisper_npu_cli.dims import FRAMES_PER_SECOND, N_FRAMES, TIME_PRECISION_S
from whisper_npu_cli.transcript import Segment

FRAMES_PER_TIMESTAMP = round(TIME_PRECISION_S * FRAMES_PER_SECOND)  # 2


@dataclass(frozen=True)
class Extent:
    """The window at frame `seek` of a clip that ends before frame `clip_end`."""

    seek: int
    clip_end: int

    @property
    def n_frames(self) -> int:
        """Frames of content; the rest of the window is padding."""
        return min(N_FRAMES, self.clip_end - self.seek)

    @property
    def start_s(self) -> float:
        """Where the window begins."""
        return self.seek / FRAMES_PER_SECOND

    @property
    def end_s(self) -> float:
        """Where its content ends."""
        return (self.seek + self.n_frames) / FRAMES_PER_SECOND

    @property
    def window_end_s(self) -> float:
        """Where it ends with its padding."""
        return (self.seek + N_FRAMES) / FRAMES_PER_SECOND


@dataclass(frozen=True)
class Span:
    """A segment's tokens, timestamps included, and its bounds in seconds within the window."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]


def clip_frames(clip_timestamps: Sequence[float], n_frames: int) -> list[tuple[int, int]]:
    """Return the frames of each clip of `clip_timestamps`, start, end, start, … in seconds.

    The last end may be left out, and is never after `n_frames`; no clips are the whole audio.
    """
    points = [min(round(s * FRAMES_PER_SECOND), n_frames) for s in clip_timestamps] or [0]
    if len(points) % 2:
        points.append(n_frames)
    return list(zip(points[::2], points[1::2], strict=True))


def window_segments(
    decoded: DecodedWindow, tokenizer: Tokenizer, seek: int, n_frames: int
) -> tuple[list[Segment], int]:
    """Return the segments of the window at frame `seek`, and the number of frames to advance.

    Segments are numbered from 0.
    """
    spans, advance = split_window(decoded.tokens, tokenizer.timestamp_begin, n_frames)
    offset_s, limit_s = seek / FRAMES_PER_SECOND, n_frames / FRAMES_PER_SECOND
    segments = [
        Segment(
            id=i,
            seek=seek,
            start=offset_s + min(span.start_s, limit_s),
            end=offset_s + min(span.end_s, limit_s),
            text=tokenizer.decode(span.tokens),
            tokens=span.tokens,
            temperature=decoded.temperature,
            avg_logprob=decoded.avg_logprob,
            compression_ratio=decoded.compression_ratio,
            no_speech_prob=decoded.no_speech_prob,
            language=decoded.language,
        )
        for i, span in enumerate(spans)
    ]
    return segments, min(advance, n_frames)


def said(segments: Sequence[Segment]) -> list[Segment]:
    """Leave out segments without text or duration, which openai/whisper keeps, but empties."""
    return [s for s in segments if s.start != s.end and s.text.strip()]


def ends_in_silence(tokens: Sequence[int], timestamp_begin: int) -> bool:
    """Return whether a window's tokens end with a single timestamp: nothing is spoken after it."""
    return [token >= timestamp_begin for token in tokens[-2:]] == [False, True]


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
    if not cuts:
        return [_single_span(tokens, timestamp_begin, n_frames)], n_frames
    is_last = ends_in_silence(tokens, timestamp_begin)
    if is_last:
        cuts.append(len(tokens))

    def seconds(token: int) -> float:
        return (token - timestamp_begin) * TIME_PRECISION_S

    starts = [0, *cuts[:-1]]
    spans = [
        Span(seconds(tokens[a]), seconds(tokens[b - 1]), tuple(tokens[a:b]))
        for a, b in zip(starts, cuts, strict=True)
    ]
    if is_last:
        return spans, n_frames
    return spans, (tokens[cuts[-1] - 1] - timestamp_begin) * FRAMES_PER_TIMESTAMP


def _single_span(tokens: Sequence[int], timestamp_begin: int, n_frames: int) -> Span:
    """All tokens as one segment, to the last timestamp or to the end of the content."""
    timestamps = [token for token in tokens if token >= timestamp_begin]
    end_s = n_frames / FRAMES_PER_SECOND
    if timestamps and timestamps[-1] != timestamp_begin:
        end_s = (timestamps[-1] - timestamp_begin) * TIME_PRECISION_S
    return Span(0.0, end_s, tuple(tokens))
