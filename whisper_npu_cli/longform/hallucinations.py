"""Text that the model made up in silence, found by its words: too long, too short, too unlikely.

Segments with words in, segments and the frame to go on from out. The decisions are those of
openai/whisper `transcribe.py` with a `hallucination_silence_threshold`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper_npu_cli.dims import FRAMES_PER_SECOND
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.options import WordOptions
from whisper_npu_cli.transcript import Segment, Word

PUNCTUATION = WordOptions.prepend_punctuations + WordOptions.append_punctuations
N_WORDS = 8  # at the beginning of a segment are judged


def word_anomaly(word: Word) -> float:
    """Return how odd a word is: 1 if unlikely, more the shorter or longer it is."""
    duration = word.end - word.start
    unlikely = 1.0 if word.probability < 0.15 else 0.0
    return unlikely + max(0.0, 0.133 - duration) * 15 + max(0.0, duration - 2.0)


def is_anomaly(segment: Segment | None) -> bool:
    """Return whether a segment is likely made up; one without words is not."""
    if segment is None or not segment.words:
        return False
    words = [word for word in segment.words if word.word not in PUNCTUATION][:N_WORDS]
    score = sum(word_anomaly(word) for word in words)
    return score >= 3 or score + 0.01 >= len(words)


def speech_end(segments: Sequence[Segment]) -> float | None:
    """Return the end of the last word, or of the last segment where there is no word."""
    ends = [word.end for segment in segments for word in segment.words or ()]
    if ends:
        return ends[-1]
    return segments[-1].end if segments else None


@dataclass(frozen=True)
class Outcome:
    """What is kept of a window, and the frame at which the next one begins."""

    segments: list[Segment]
    seek: int
    is_void: bool = False  # nothing was decoded, as it were: the next window hears it again


def follow_words(
    segments: Sequence[Segment],
    window: Window,
    planned: int,  # the next frame by the timestamps
    *,
    is_final: bool,  # nothing is spoken after the segments
    last_speech_s: float,
    threshold_s: float | None,
) -> Outcome:
    """Go on where the words end; with a threshold drop what was likely made up in silence."""
    seek = planned if is_final else _after_words(segments, window, planned, threshold_s)
    if threshold_s is None:
        return Outcome(list(segments), seek)
    spoken_at = skip_leading_silence(segments, window, threshold_s)
    if spoken_at is not None:
        return Outcome([], spoken_at, is_void=True)
    kept, resumed = drop_between_silence(segments, window, threshold_s, last_speech_s)
    return Outcome(kept, seek if resumed is None else resumed)


def _after_words(
    segments: Sequence[Segment], window: Window, planned: int, threshold_s: float | None
) -> int:
    """Return the frame after the last word, or the window's end where that is near to it."""
    end_s = speech_end(segments)
    if end_s is None or end_s <= window.start_s:
        return planned
    if threshold_s is not None and window.padded_end_s - end_s <= threshold_s:
        return window.end
    return round(end_s * FRAMES_PER_SECOND)


def skip_leading_silence(
    segments: Sequence[Segment], window: Window, threshold_s: float
) -> int | None:
    """Return the frame of the first words if they are odd and follow silence: decode from there."""
    first = next((segment for segment in segments if segment.words), None)
    if first is None or not is_anomaly(first):
        return None
    gap_s = first.start - window.start_s
    return window.start + round(gap_s * FRAMES_PER_SECOND) if gap_s > threshold_s else None


def drop_between_silence(
    segments: Sequence[Segment], window: Window, threshold_s: float, last_speech_s: float
) -> tuple[list[Segment], int | None]:
    """Drop all from the first odd segment that has silence, or odd segments, around it.

    Returns what is left, and the frame to go on from where something was dropped.
    """
    for i, segment in enumerate(segments):
        if not segment.words:
            continue
        if is_anomaly(segment):
            following = next((s for s in segments[i + 1 :] if s.words), None)
            next_s = following.words[0].start if following and following.words else window.end_s
            silent_before = (
                segment.start - last_speech_s > threshold_s
                or segment.start < threshold_s
                or segment.start - window.start_s < 2.0
            )
            silent_after = (
                next_s - segment.end > threshold_s
                or is_anomaly(following)
                or window.padded_end_s - segment.end < 2.0
            )
            if silent_before and silent_after:
                return list(segments[:i]), _resume_at(segment, window, threshold_s)
        last_speech_s = segment.end
    return list(segments), None


def _resume_at(dropped: Segment, window: Window, threshold_s: float) -> int:
    """Return the frame to go on from: the end of the clip where little is left after `dropped`."""
    if window.until / FRAMES_PER_SECOND - dropped.end < threshold_s:
        return window.until
    return round(max(window.start_s + 1, dropped.start) * FRAMES_PER_SECOND)
