"""What is known of an audio: all of a recording at once, ever more of what arrives.

Blocks of samples in, spans of speech and mel windows out. A recording is read twice: for its
length, its loudest moment and its speech, then for its windows. What arrives is heard once. Then
the loudest moment is that so far, and what is decided is decided by what was heard.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.mel import ArrivingMel, HostMel, MelEngine, MelStats, MelStream, scan
from whisper_npu_cli.audio.sources import Source
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.longform.windows import Window, plan_ahead, plan_clips, plan_windows
from whisper_npu_cli.options import VadOptions
from whisper_npu_cli.spans import Span
from whisper_npu_cli.speech.detect import SpeechFinder
from whisper_npu_cli.speech.silero import BATCH
from whisper_npu_cli.timings import Stopwatch

Blocks = Iterator[NDArray[np.float32]]  # (n,) at 16 kHz
_SOON_CHUNKS = 3  # of 32 ms: 0.4 % of a core, where 4 s at a time take 0.1 %
_SOON_FRAMES = 10


@dataclass(frozen=True)
class Ears:
    """How an audio is heard, and the clock of it.

    What is spoken live is heard `soon`: 0.1 s at a time, with more work than 4 s at a time take.
    """

    mel: MelEngine
    vad: VadOptions
    stopwatch: Stopwatch
    soon: bool = False

    def find_speech(self) -> SpeechFinder:
        """Return what finds the speech of one audio."""
        return SpeechFinder(self.vad, _SOON_CHUNKS if self.soon else BATCH)

    def stream_mel(self) -> ArrivingMel:
        """Return the mel of audio that arrives, by the host, which takes a few frames at a time."""
        n_mels = self.mel.n_mels
        return ArrivingMel(HostMel(n_mels, _SOON_FRAMES) if self.soon else HostMel(n_mels))

    def take(self, blocks: Blocks) -> Blocks:
        """Yield `blocks`, timed as stage `audio`.

        After an empty one the next is not there yet, and no stage is charged for the wait.
        """
        is_awaited = False
        while True:
            watch = self.stopwatch
            with watch.pause() if is_awaited else watch.measure("audio"):
                block = next(blocks, None)
            if block is None:
                return
            yield block
            is_awaited = not block.size and not is_awaited


@dataclass(frozen=True)
class Survey:
    """What the first reading of a recording finds, on which every window of it depends."""

    stats: MelStats
    peak: float  # of the samples
    speech: Sequence[Span]
    faint: Sequence[Span]  # what may be speech too

    def find_clips(self, clip_timestamps: Sequence[float]) -> list[Span]:
        """Return the clips that are wanted."""
        return plan_clips(clip_timestamps, self.stats.n_frames)

    def plan_windows(self, clips: Sequence[Span], vad: VadOptions) -> Iterator[Window]:
        """Yield the windows of speech in `clips`."""
        for clip in clips:
            yield from plan_windows(self.speech, clip, vad)


class _Windows:
    """Windows of the mel of an audio."""

    _mel: MelStream

    def __init__(self, ears: Ears) -> None:
        self._ears = ears

    def window(self, start: int, end: int) -> NDArray[np.float32]:
        """Return (n_mels, N_FRAMES): frames from `start` on and before `end`, then zeros."""
        with self._ears.stopwatch.measure("mel") as stage:
            window = self._mel.window(start, end)
            stage.add_engine(self._mel.engine.name)
        return window


class _Hearing(_Windows):
    """What was heard of an audio: its level, its speech, and windows of its mel."""

    def __init__(self, ears: Ears) -> None:
        super().__init__(ears)
        self.peak = 0.0  # of the samples
        self.speech: list[Span] = []  # these lists grow while it is heard
        self.faint: list[Span] = []  # what may be speech too
        self._finder = ears.find_speech()

    def _hear(self, block: NDArray[np.float32]) -> None:
        self.peak = max(self.peak, float(np.abs(block).max(initial=0)))
        with self._ears.stopwatch.measure("vad", "silero"):
            self._finder.add(block)

    def _finish(self) -> None:
        with self._ears.stopwatch.measure("vad", "silero"):
            self._finder.finish()
        self._tell_speech()

    def _tell_speech(self) -> None:
        self.speech[:], self.faint[:] = self._finder.speech, self._finder.faint


class _FirstReading(_Hearing):
    """A recording while it is read for the first time."""

    def survey(self, source: Source, is_stopped: Callable[[], bool]) -> Survey:
        """Read it to its end, or until it is to stop. AudioError where it cannot be read."""
        ears = self._ears

        def heard() -> Blocks:
            for block in takewhile(lambda _: not is_stopped(), ears.take(source.blocks())):
                self._hear(block)
                yield block

        with ears.stopwatch.measure("mel") as stage:
            stats = scan(heard(), ears.mel)
            stage.add_engine(ears.mel.name)  # after computing, in which the host may take over
        self._finish()
        ears.stopwatch.audio_s = stats.duration_s
        return Survey(stats, self.peak, self.speech, self.faint)


class Recorded(_Windows):
    """A recording that can be read again. AudioError where it cannot be read."""

    is_ended = True

    def __init__(self, source: Source, ears: Ears, survey: Survey) -> None:
        super().__init__(ears)
        self.survey = survey
        self.stats, self.peak = survey.stats, survey.peak
        self.speech, self.faint = survey.speech, survey.faint
        self._source = source
        self.rewind()

    @classmethod
    def hear(
        cls, source: Source, ears: Ears, is_stopped: Callable[[], bool] = lambda: False
    ) -> Recorded:
        """Read a recording once, to its end or until it is to stop."""
        return cls(source, ears, _FirstReading(ears).survey(source, is_stopped))

    @property
    def n_heard(self) -> int:
        """All frames."""
        return self.stats.n_frames

    def rewind(self) -> None:
        """Let windows begin anew."""
        self._mel = MelStream(self._ears.take(self._source.blocks()), self.stats, self._ears.mel)

    def reach(self, clip: Span, _start: int) -> Span:
        """Return the clip, all of which was heard."""
        return clip

    def find_clips(self, clip_timestamps: Sequence[float]) -> list[Span]:
        """Return the clips that are wanted."""
        return self.survey.find_clips(clip_timestamps)

    def plan_windows(self, clips: Sequence[Span]) -> Iterator[Window]:
        """Yield the windows of speech in `clips`."""
        return self.survey.plan_windows(clips, self._ears.vad)


class Arriving(_Hearing):
    """Audio whose end is not known yet, in `blocks` of which an empty one comes before a wait.

    It holds the frames since the last window's start, and what was heard since.
    """

    _mel: ArrivingMel

    def __init__(self, blocks: Blocks, ears: Ears) -> None:
        super().__init__(ears)
        self.is_ended = False
        self._blocks = ears.take(blocks)
        self._mel = ears.stream_mel()

    @property
    def stats(self) -> MelStats:
        """Of what was heard so far."""
        return self._mel.stats

    @property
    def n_heard(self) -> int:
        """How many frames were heard, and the speech in them."""
        n_frames = self._mel.n_frames
        return n_frames if self.is_ended else min(n_frames, self._finder.n_known)

    @property
    def n_frames(self) -> int:
        """How many frames were heard, whether or not it is known that they are speech."""
        return self._mel.n_frames

    @property
    def stopwatch(self) -> Stopwatch:
        """The clock of what is computed of it."""
        return self._ears.stopwatch

    @property
    def first_frame(self) -> int:
        """The frame before which all was given up."""
        return self._mel.first_frame

    @property
    def next_start(self) -> int:
        """The frame before which no other speech will be found to begin."""
        return self._finder.next_start

    @property
    def ended_speech(self) -> list[Span]:
        """The speech that goes on no more."""
        return self.speech[:-1] if self._finder.is_speaking else list(self.speech)

    def forget(self, start: int) -> None:
        """Give up what is before frame `start`; ValueError where that is gone already."""
        self._mel.forget(start)

    def forget_speech(self, end: int) -> None:
        """Tell the speech no more that ended at frame `end` or before."""
        self._finder.forget(end)
        self._tell_speech()

    def hear(self) -> bool:
        """Take the next block; return False where it is not there yet: the next call waits."""
        block = next(self._blocks, None)
        if block is None:
            self.is_ended = True
            self._finish()
            with self._ears.stopwatch.measure("mel"):
                self._mel.finish()
            return True
        self._hear(block)
        self._tell_speech()
        with self._ears.stopwatch.measure("mel"):
            self._mel.add(block)
        self._ears.stopwatch.audio_s = self.stats.duration_s
        return block.size > 0

    def reach(self, clip: Span, start: int) -> Span:
        """Hear a window of `clip` from frame `start` on; return the clip, cut at the audio's end.

        What is before `start` is forgotten.
        """
        self._mel.forget(start)
        while not self.is_ended and self.n_heard < min(start + N_FRAMES, clip.end):
            self.hear()
        return Span(clip.start, min(clip.end, self.n_heard)) if self.is_ended else clip

    def find_clips(self, _clip_timestamps: Sequence[float]) -> list[Span]:
        """Return all of it as one clip, whose end nobody knows before it is there."""
        return [Span(0, self.n_heard if self.is_ended else sys.maxsize)]

    def plan_windows(self, _clips: Sequence[Span]) -> Iterator[Window | None]:
        """Yield the windows of speech once no later speech can change them; None before each wait.

        They are those of a recording.
        """
        last = Window(0, 0, 0)
        while True:
            is_ended = self.is_ended
            final, undecided = self._plan(last)
            while final and final[0].end <= self.n_heard:
                last = final.pop(0)
                yield last
            if is_ended:
                return
            ahead = [*final, *undecided]
            pad = self._ears.vad.pad_frames
            self._mel.forget(ahead[0].start if ahead else max(0, self._finder.next_start - pad))
            if not self.hear():
                yield None

    def _plan(self, last: Window) -> tuple[list[Window], list[Window]]:
        """Return the windows after the `last` that can change no more, and those that may."""
        (clip,) = self.find_clips(())
        recent = [span for span in self._finder.settled if span.end > last.start]
        start, is_speaking = self._finder.next_start, self._finder.is_speaking
        final, undecided = plan_ahead(recent, start, clip, self._ears.vad, is_speaking=is_speaking)
        if self.is_ended:
            final, undecided = [*final, *undecided], []
        return [window for window in final if window.start >= last.end], undecided
