"""Long form in batches: windows of speech that do not depend on each other, decoded together.

Mel windows in, segments out, as `sequential.py`. What a window leaves undecided (the model ended
early, or began a segment without ending it) is decoded again from there: no text is lost.
The mel is that of the whole audio, as in sequential mode; faster-whisper normalises each window
by its own loudest moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.longform import window_segments
from whisper_npu_cli.sequential import Decided, WindowSource
from whisper_npu_cli.stages import Stages
from whisper_npu_cli.transcript import Segment
from whisper_npu_cli.vad import Span

_SILENT_REST = 50  # frames; a window ends with up to 40 of padding, and timestamps are not exact


@dataclass
class _Window:
    """A window being decoded: what is decided ends before frame `seek`."""

    mel: NDArray[np.float32]  # (n_mels, N_FRAMES) from frame `seek`, zero from `end` on
    seek: int
    end: int
    segments: list[Segment] = field(default_factory=list)

    def advance(self, n_frames: int) -> None:
        """Go to the frame that is `n_frames` later."""
        self.seek += n_frames
        self.mel[:, :-n_frames] = self.mel[:, n_frames:]
        self.mel[:, -n_frames:] = 0


def transcribe_batched(
    source: WindowSource, stages: Stages, windows: Sequence[Span], batch_size: int
) -> Iterator[Decided]:
    """Yield the segments of each of `windows`, pairs of frames in order of time.

    Only the initial prompt and hotwords precede a window. The mel and the encoded windows of
    one batch are in memory.
    """
    previous = stages.history().tokens
    n_done = 0
    while n_done < len(windows):
        # Only the first window of the audio has the prefix, and prompts have equal lengths.
        n = 1 if n_done == 0 and stages.has_prefix else batch_size
        batch = [_window(source, span) for span in windows[n_done : n_done + n]]
        _decode(batch, stages, previous, first=n_done == 0)
        for window in batch:
            yield Decided(window.segments, window.end)
        n_done += len(batch)


def _window(source: WindowSource, span: Span) -> _Window:
    start, end = span
    mel = source.window(start)
    mel[:, end - start :] = 0
    return _Window(mel, start, end)


def _decode(
    batch: Sequence[_Window], stages: Stages, previous: Sequence[int], *, first: bool
) -> None:
    """Decode all windows to their ends."""
    pending = list(batch)
    while pending:
        encoded = [stages.encode(window.mel) for window in pending]
        for window, decoded in zip(
            pending, stages.decode(encoded, previous, first=first), strict=True
        ):
            n_frames = window.end - window.seek
            if stages.is_silence(decoded):
                window.advance(n_frames)
                continue
            segments, n_decided = window_segments(decoded, stages.tokenizer, window.seek, n_frames)
            window.segments.extend(segments)
            window.advance(n_decided)
        pending = [window for window in pending if window.end - window.seek > _SILENT_REST]
        first = False
