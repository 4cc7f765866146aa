"""Long form in batches: windows of speech that do not depend on each other, decoded together.

Mel windows in, segments out, as in `sequential.py`. The model may end early, or begin a segment
without ending it. The rest of such a window is decoded again, so that no text is lost.
The mel is that of the whole audio, as in sequential mode; faster-whisper normalises each window
by its own loudest moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain, islice, repeat
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.decoding.retry import DecodedWindow
from whisper_npu_cli.engines.base import CrossKV
from whisper_npu_cli.longform.guide import SHORTEST_REST, Ahead, Guide
from whisper_npu_cli.longform.languages import find_change
from whisper_npu_cli.longform.segments import drop_empty, make_segments, order_times
from whisper_npu_cli.longform.stages import Stages, Stopped
from whisper_npu_cli.longform.windows import Decided, MelSource, Window
from whisper_npu_cli.transcript import Segment

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass
class _Job:
    """A window of speech being decoded, of which `rest` is left."""

    rest: Window
    mel: NDArray[np.float32]  # (n_mels, N_FRAMES), `rest` and then zeros
    encoded: CrossKV  # `window`, encoded
    segments: list[Segment] = field(default_factory=list)
    cut: int | None = None  # the frame at which `window` ends early
    is_alone: bool = False  # it is one utterance
    change: int | None = None  # the frame at which another language begins

    @property
    def window(self) -> Window:
        """What of the rest is decoded next."""
        return self.rest if self.cut is None else replace(self.rest, end=self.cut)

    @property
    def last_speech_s(self) -> float:
        """End of the text so far, or else the start of the window, where speech begins."""
        return self.segments[-1].end if self.segments else self.rest.start_s

    @property
    def is_done(self) -> bool:
        """Whether no speech is left."""
        return self.rest.until - self.rest.start < SHORTEST_REST

    def advance(self, ahead: Ahead) -> None:
        """Keep the segments, and move the start of the rest."""
        self.segments.extend(ahead.segments)
        # Without timestamp rules it may stay where it is.
        n_frames = max(1, ahead.start - self.rest.start)
        self.rest, self.cut = replace(self.rest, start=self.rest.start + n_frames), ahead.end
        self.is_alone = self.cut is not None
        if self.cut is None and self.change is not None and self.rest.start < self.change:
            self.cut = self.change
        self.mel[:, :-n_frames] = self.mel[:, n_frames:]
        self.mel[:, -n_frames:] = 0

    def window_mel(self) -> NDArray[np.float32]:
        """Return the mel of `window` (n_mels, N_FRAMES), then zeros."""
        mel = self.mel.copy()
        mel[:, self.window.n_frames :] = 0
        return mel


def transcribe_batched(
    source: MelSource,
    stages: Stages,
    windows: Iterator[Window | None],
    batch_size: int,
    guide: Guide,
    *,
    is_first: bool = True,
) -> Iterator[Decided]:
    """Yield the segments of each batch of `windows`, which are in order of time.

    None among them is where the next is not there yet: it does not wait for that one.
    Only the initial prompt and hotwords precede a window, and a prefix that of the first, unless
    other windows of the audio come before it (`is_first`). The mel and the encoded windows of
    one batch are in memory, or of two batches where the encoder works ahead.
    """
    previous = stages.begin_history().tokens
    # A prefix makes the first prompt longer, and the prompts of a batch have equal lengths.
    n_first = 1 if stages.has_prefix and is_first else batch_size
    sizes = chain([n_first], repeat(batch_size))

    def prepare(group: Iterable[Window]) -> list[_Job]:
        taken = [(window, _read_mel(source, stages, window)) for window in group]
        jobs = []
        with closing(stages.encode_each([(mel, window.start) for window, mel in taken])) as encoded:
            for (window, mel), kept in zip(taken, encoded, strict=True):
                if stages.is_stopped:
                    raise Stopped
                jobs.append(_Job(window, mel, kept))
        return jobs

    groups = _group(windows, sizes)
    is_ahead = stages.encodes_ahead and source.is_ended  # else it would wait for one more
    for batch in _prepare_ahead(prepare, map(list, groups)) if is_ahead else map(prepare, groups):
        _decode(batch, stages, previous, guide, first=is_first)
        is_first = False
        yield Decided([s for job in batch for s in job.segments], batch[-1].rest.end)
        batch.clear()  # frees its memory before the next batch is prepared


def _group(windows: Iterator[Window | None], sizes: Iterator[int]) -> Iterator[Iterator[Window]]:
    """Yield groups of at most these sizes, in which each window is taken once it is there."""
    for first in windows:
        if first is not None:
            yield chain([first], _take(windows, next(sizes) - 1))


def _take(windows: Iterator[Window | None], n: int) -> Iterator[Window]:
    """Yield at most `n` windows that are there."""
    for window in islice(windows, n):
        if window is None:
            return
        yield window


def _prepare_ahead(
    prepare: Callable[[_Item], _Result], items: Iterable[_Item]
) -> Iterator[_Result]:
    """Yield the result of each item; a thread prepares the next while one is in use."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        being_made: list[Future[_Result]] = []
        for item in items:
            being_made.append(thread.submit(prepare, item))
            if len(being_made) > 1:
                yield being_made.pop(0).result()
        for last in being_made:
            yield last.result()


def _read_mel(source: MelSource, stages: Stages, window: Window) -> NDArray[np.float32]:
    if stages.is_stopped:
        raise Stopped
    return source.window(window.start, window.end)


def _decode(
    batch: Sequence[_Job], stages: Stages, previous: Sequence[int], guide: Guide, *, first: bool
) -> None:
    """Decode the whole speech of all windows."""
    pending = list(batch)
    while pending:
        for job in pending:
            _end_before_change(job, stages, guide)
        decoded = stages.decode([job.encoded for job in pending], previous, first=first)
        for job, one in zip(pending, decoded, strict=True):
            ahead = Ahead([], job.window.end)
            if not stages.is_silence(one):
                ahead = _follow(job, one, stages, guide)
            job.advance(ahead)
        pending = [job for job in pending if not job.is_done]
        for job in pending:
            job.encoded = stages.encode(job.window_mel(), job.rest.start)
        first = False


def _end_before_change(job: _Job, stages: Stages, guide: Guide) -> None:
    """Let a window end where another language begins in it."""
    if job.cut is not None:
        return
    job.cut = job.change = find_change(job.window, job.mel, job.encoded, stages, guide)
    if job.cut is not None:
        job.encoded = stages.encode(job.window_mel(), job.rest.start)


def _follow(job: _Job, decoded: DecodedWindow, stages: Stages, guide: Guide) -> Ahead:
    """Return the segments of a window, with words if asked for, and where the next begins."""
    window = job.window
    segments, n_decided = make_segments(decoded, stages.tokenizer, window)
    segments = stages.add_words(job.encoded, segments, window.n_frames, job.last_speech_s)
    kept = drop_empty(order_times(segments, window.start_s, window.end_s))
    return guide.go_on(kept, window, window.start + n_decided, is_alone=job.is_alone)
