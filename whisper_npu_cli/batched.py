"""Long form in batches: windows of speech that do not depend on each other, decoded together.

Mel windows in, segments out, as `sequential.py`. What a window leaves undecided (the model ended
early, or began a segment without ending it) is decoded again from there: no text is lost.
The mel is that of the whole audio, as in sequential mode; faster-whisper normalises each window
by its own loudest moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.dims import FRAMES_PER_SECOND
from whisper_npu_cli.encoder.base import EncodedWindow
from whisper_npu_cli.longform import said, window_segments
from whisper_npu_cli.sequential import Decided, WindowSource
from whisper_npu_cli.stages import Stages
from whisper_npu_cli.transcript import Segment
from whisper_npu_cli.vad import Window
from whisper_npu_cli.words import Surroundings

_SHORTEST_REST = 20  # frames of speech to decode again: timestamps are less exact


@dataclass
class _Job:
    """A window being decoded: what is decided ends before frame `seek`."""

    window: Window
    mel: NDArray[np.float32]  # (n_mels, N_FRAMES) from frame `seek`, zero from the end on
    seek: int
    encode: Callable[[], EncodedWindow]
    segments: list[Segment] = field(default_factory=list)

    @property
    def last_speech_s(self) -> float:
        """End of the text so far; a window begins where speech does."""
        return self.segments[-1].end if self.segments else self.window.start / FRAMES_PER_SECOND

    @property
    def n_frames(self) -> int:
        """Frames that are left."""
        return self.window.end - self.seek

    @property
    def is_done(self) -> bool:
        """Whether no speech is left."""
        return self.window.speech_end - self.seek < _SHORTEST_REST

    def advance(self, n_frames: int) -> None:
        """Go to the frame that is `n_frames` later."""
        self.seek += n_frames
        self.mel[:, :-n_frames] = self.mel[:, n_frames:]
        self.mel[:, -n_frames:] = 0


def transcribe_batched(
    source: WindowSource, stages: Stages, windows: Sequence[Window], batch_size: int
) -> Iterator[Decided]:
    """Yield the segments of each of `windows`, which are in order of time.

    Only the initial prompt and hotwords precede a window. The encoded windows of one batch are in
    memory; where a device encodes, those of the next one too.
    """
    previous = stages.history().tokens
    first = True
    try:
        for batch in _batches(source, stages, windows, batch_size):
            _decode(batch, stages, previous, first=first)
            first = False
            for job in batch:
                yield Decided(job.segments, job.window.end)
    finally:
        stages.cancel()


def _batches(
    source: WindowSource, stages: Stages, windows: Sequence[Window], batch_size: int
) -> Iterator[list[_Job]]:
    """Yield the windows to decode together; a device encodes the next ones meanwhile."""
    batch: list[_Job] = []
    n_begun = 0
    while n_begun < len(windows):
        # Only the first window of the audio has the prefix, and prompts have equal lengths.
        n = 1 if n_begun == 0 and stages.has_prefix else batch_size
        following = [_job(source, stages, window) for window in windows[n_begun : n_begun + n]]
        if batch:
            yield batch
        batch = following
        n_begun += len(batch)
    if batch:
        yield batch


def _job(source: WindowSource, stages: Stages, window: Window) -> _Job:
    mel = source.window(window.start)
    mel[:, window.end - window.start :] = 0
    return _Job(window, mel, window.start, stages.begin(mel, window.start))


def _decode(batch: Sequence[_Job], stages: Stages, previous: Sequence[int], *, first: bool) -> None:
    """Decode all windows to their ends."""
    pending = list(batch)
    while pending:
        encoded = [job.encode() for job in pending]
        decoded = stages.decode(encoded, previous, first=first)
        for job, window, one in zip(pending, encoded, decoded, strict=True):
            n_frames = n_decided = job.n_frames
            if not stages.is_silence(one):
                segments, n_decided = window_segments(one, stages.tokenizer, job.seek, n_frames)
                around = Surroundings(job.last_speech_s, job.window.end / FRAMES_PER_SECOND)
                job.segments.extend(said(stages.add_words(window, segments, n_frames, around)))
            job.advance(n_decided)
        pending = [job for job in pending if not job.is_done]
        for job in pending:
            job.encode = stages.begin(job.mel, job.seek)
        first = False
