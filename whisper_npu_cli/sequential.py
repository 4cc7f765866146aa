"""Long form as openai/whisper's `transcribe()`: windows in turn, each told the text before it.

Mel windows in, segments out. The windows depend on each other, so none is decoded ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.longform import window_segments
from whisper_npu_cli.stages import Stages
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
    is_first = True
    for start, end in clips:
        seek = start
        while seek < end:
            n_frames = min(N_FRAMES, end - seek)
            mel = source.window(seek)
            mel[:, n_frames:] = 0  # what the clip leaves out
            (decoded,) = stages.decode([stages.encode(mel)], history.tokens, first=is_first)
            is_first = False
            if stages.is_silence(decoded):
                seek += n_frames
                yield Decided([], seek)
                continue
            segments, advance = window_segments(decoded, stages.tokenizer, seek, n_frames)
            history.add([t for s in segments for t in s.tokens], decoded.temperature)
            seek += advance
            yield Decided(segments, seek)
