"""Long form as openai/whisper's `transcribe()`: windows in turn, each told the text before it.

Mel windows in, segments out. The windows depend on each other, so none is decoded ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.decoding.retry import DecodedWindow
from whisper_npu_cli.engines.base import CrossKV
from whisper_npu_cli.longform.hallucinations import Outcome, follow_words, speech_end
from whisper_npu_cli.longform.segments import Extent, ends_in_silence, said, window_segments
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.longform.words import in_order
from whisper_npu_cli.transcript import Segment


class WindowSource(Protocol):
    """Where windows come from."""

    def window(self, seek: int) -> NDArray[np.float32]:
        """Return (n_mels, N_FRAMES) from frame `seek`; zero beyond the content."""
        ...


@dataclass(frozen=True)
class Decided:
    """The segments of a stretch of audio, which ends before frame `end_frame`."""

    segments: Sequence[Segment]
    end_frame: int


def transcribe_sequential(
    source: WindowSource, stages: Stages, clips: Sequence[tuple[int, int]]
) -> Iterator[Decided]:
    """Yield the segments of each window of `clips`, which are pairs of frames."""
    history = stages.history()
    last_speech_s = 0.0
    is_first = True
    for start, end in clips:
        seek = start
        while seek < end:
            extent = Extent(seek, end)
            mel = source.window(seek)
            mel[:, extent.n_frames :] = 0  # what the clip leaves out
            encoded = stages.encode(mel, seek)
            (decoded,) = stages.decode([encoded], history.tokens, first=is_first)
            is_first = False
            if stages.is_silence(decoded):
                seek += extent.n_frames
                yield Decided([], seek)
                continue
            outcome = _follow(stages, encoded, decoded, extent, last_speech_s)
            seek = max(outcome.seek, seek + 1)
            last_speech_s = speech_end(outcome.segments) or last_speech_s
            segments = said(outcome.segments)
            if not outcome.is_void:
                history.add([t for s in segments for t in s.tokens], decoded.temperature)
            yield Decided(segments, seek)


def _follow(
    stages: Stages,
    encoded: CrossKV,
    decoded: DecodedWindow,
    extent: Extent,
    last_speech_s: float,
) -> Outcome:
    """Return the segments of a window, with words if asked for, and where the next begins."""
    segments, advance = window_segments(decoded, stages.tokenizer, extent.seek, extent.n_frames)
    if stages.words is None:
        return Outcome(segments, extent.seek + advance)
    outcome = follow_words(
        stages.add_words(encoded, segments, extent.n_frames, last_speech_s),
        extent,
        extent.seek + advance,
        is_final=ends_in_silence(decoded.tokens, stages.tokenizer.timestamp_begin),
        last_speech_s=last_speech_s,
        threshold_s=stages.words.hallucination_silence_threshold,
    )
    # Only now: what was made up is told by the times as they were found.
    ordered = in_order(outcome.segments, extent.start_s, extent.end_s)
    return replace(outcome, segments=ordered)
