"""The arrows of the data flow in order: audio → speech, mel → encode → decode → segments, timed.

Knows every stage by its seam and none by its engine. Audio is read twice. openai/whisper clamps
the log-mel against the maximum over the whole audio, and batched mode chooses its windows by all
of the speech: the first pass finds both, and every fault of the input, so that the second holds
no more than a few windows in memory. A source that can be read only once keeps its samples
meanwhile (`make_rereadable`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import log10
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.mel import MelEngine, MelStats, MelStream, scan
from whisper_npu_cli.audio.sources import (
    Audio,
    Source,
    make_rereadable,
    open_source,
    split_channels,
)
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.engines.loading import load_engines
from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.longform.batched import transcribe_batched
from whisper_npu_cli.longform.channels import ChannelTranscription
from whisper_npu_cli.longform.guide import (
    UNCOVERED_FRAMES,
    Guide,
    count_speech,
    is_sparse,
    move_start,
)
from whisper_npu_cli.longform.segments import order_times
from whisper_npu_cli.longform.sequential import transcribe_sequential
from whisper_npu_cli.longform.stages import Stages, Stopped
from whisper_npu_cli.longform.windows import (
    Decided,
    Window,
    make_window,
    plan_clips,
    plan_windows,
)
from whisper_npu_cli.options import EngineOptions, LongForm, TranscribeOptions
from whisper_npu_cli.spans import Span, cut_spans, find_uncovered, round_span
from whisper_npu_cli.speech.detect import SpeechFinder
from whisper_npu_cli.timings import Stopwatch
from whisper_npu_cli.transcript import (
    Damage,
    Progress,
    Result,
    Segment,
    Transcript,
    TranscriptionInfo,
)
from whisper_npu_cli.writers.remarks import describe_damage


class Transcriber:
    """A loaded model; a context manager. Give it audio, from any number of threads."""

    def __init__(
        self,
        model: str = "base",
        engine: EngineOptions | None = None,
        *,
        offline: bool = False,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Find, read and load `model`; `notice` gets a line before anything slow.

        Raises CheckpointError for a model that cannot be had, DeviceError for an engine that
        cannot.
        """
        start = perf_counter()
        checkpoint = open_checkpoint(model, offline=offline)
        self.tokenizer = checkpoint.tokenizer()
        self.engines = load_engines(checkpoint, engine or EngineOptions(), notice)
        self.dims = checkpoint.dims
        self.load_s = perf_counter() - start

    def transcribe(
        self,
        audio: Audio,
        options: TranscribeOptions | None = None,
        progress: Progress | None = None,
    ) -> Transcription | ChannelTranscription:
        """Begin a transcription of a path, bytes, a binary file object, samples or a `Source`.

        It goes on from the `progress` of an earlier one with the same options; channels apart
        begin anew. Nothing is computed before it is iterated over. UsageError where `options` ask
        for what the model does not have; AudioError for the speakers of what has no channels.
        """
        options, stopwatch, source = options or TranscribeOptions(), Stopwatch(), open_source(audio)
        if options.speakers is None:
            once_more = make_rereadable(source)
            return Transcription(self, once_more, options, stopwatch, progress or Progress())
        channels = zip(options.list_channels(), split_channels(source), strict=True)
        jobs = {
            name: Transcription(self, one, options, stopwatch, Progress()) for name, one in channels
        }
        return ChannelTranscription(jobs, stopwatch)

    def close(self) -> None:
        """Release the engines."""
        self.engines.close()

    def __enter__(self) -> Transcriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Transcription:
    """One audio being transcribed. Iterating, which can be done once, does the work."""

    def __init__(
        self,
        transcriber: Transcriber,
        source: Source,
        options: TranscribeOptions,
        stopwatch: Stopwatch,
        progress: Progress,
    ) -> None:
        self.stopwatch = stopwatch  # of its stages; who writes the result adds that
        self._source = source
        self._options = options
        self._mel = transcriber.engines.mel
        self._stages = Stages(transcriber.engines, transcriber.tokenizer, options, self.stopwatch)
        self._stats = MelStats(n_samples=0, peak=0.0)  # nothing is read yet
        self._windows: TimedWindows | None = None
        self._speech: list[Span] = []
        self._faint: list[Span] = []  # what may be speech too
        self._earlier = progress
        self._segments = list(progress.segments)
        self._n_decided = progress.end_frame
        self._peak = 0.0  # of the samples
        self._is_iterated = self._is_stopped = self._is_complete = False

    def begin(self) -> TranscriptionInfo:
        """Read the audio once and find its language; iterating does so where nobody did.

        Raises AudioError for an input that cannot be transcribed.
        """
        if self._windows is None:
            self._stats = self._scan()
            self._refuse()
            self._windows = self._open_windows()
            if self._earlier.language is not None:
                self._stages.language = self._earlier.language
                self._stages.language_probs = dict(self._earlier.language_probs)
            elif self._stages.language is None:
                self._detect_language(self._windows)
        return TranscriptionInfo(
            duration_s=self._stats.duration_s,
            language=self._stages.language or "",
            language_probs=self._stages.language_probs,
            long_form=self._long_form,
        )

    def __iter__(self) -> Iterator[Segment]:
        """Yield segments as they are decided. Raises AudioError before the first one, or never.

        RuntimeError the second time: what was decided is in `result`.
        """
        if self._is_iterated:
            raise RuntimeError("a transcription is iterated once; its segments are in `result`")
        self._is_iterated = True
        return self._decide()

    def stop(self) -> None:
        """End the iteration after the window that is being decoded; give up several at once."""
        self._is_stopped = self._stages.is_stopped = True

    @property
    def progress(self) -> float:
        """Share of the audio that is decided, 0 to 1."""
        n_frames = self._stats.n_frames
        return min(1.0, self._n_decided / n_frames) if n_frames else 0.0

    @property
    def work_done(self) -> float:
        """Share of this transcription's work that is done, 0 to 1, with windows in the making."""
        n_frames = self._stats.n_frames
        done = self._stages.estimate_done(self._n_decided, n_frames)
        ends = self._earlier.end_frame, done, n_frames
        earlier, done, total = (self._count_frames(end) for end in ends)
        return (done - earlier) / (total - earlier) if total > earlier else 0.0

    @property
    def checkpoint(self) -> Progress:
        """What has been decided so far, for a later transcription to go on from."""
        stages, segments = self._stages, tuple(self._segments)
        return Progress(self._n_decided, stages.language, stages.language_probs, segments)

    @property
    def result(self) -> Result:
        """What has been decided so far: all of it once the iteration has ended."""
        transcript = Transcript(
            language=self._stages.language or "",
            duration_s=self._stats.duration_s,
            segments=tuple(self._segments),
            language_probs=self._stages.language_probs,
        )
        return Result(
            transcript=transcript,
            timings=self.stopwatch.read(),
            windows=tuple(self._stages.windows),
            uncovered=self._find_uncovered(),
            long_form=self._long_form,
            is_complete=self._is_complete,
            damage=self._damage,
            peak_dbfs=20 * log10(self._peak) if self._peak else None,
        )

    def _decide(self) -> Iterator[Segment]:
        info = self.begin()
        decided_windows = self._decided_windows()
        end_s = self._segments[-1].end if self._segments else 0.0
        while not self._is_stopped:
            try:
                decided = next(decided_windows, None)
            except Stopped:
                return
            if decided is None:
                self._n_decided = self._stats.n_frames
                self._is_complete = True
                return
            n_before = len(self._segments)
            for segment in decided.segments:
                (ordered,) = order_times([segment], end_s, info.duration_s)
                if self._options.vad_starts and self._options.words is None:
                    ordered = move_start(ordered, self._speech)
                self._segments.append(replace(ordered, id=len(self._segments)))
                end_s = ordered.end
            self._n_decided = decided.end_frame
            yield from self._segments[n_before:]

    def _refuse(self) -> None:
        """Raise AudioError where the audio is not what the options ask for."""
        if self._options.strict and self._damage:
            raise AudioError(
                f"{self._source.name}: {describe_damage(self._damage)}",
                hint="copy or download it again, or leave out --strict",
            )
        starts, duration_s = self._options.clip_timestamps[::2], self._stats.duration_s
        if starts and max(starts) >= duration_s and not self._is_stopped:
            raise AudioError(
                f"{self._source.name}: the part from {max(starts):g} s on is beyond its end",
                hint=f"it has {duration_s:.1f} s",
            )

    def _decided_windows(self) -> Iterator[Decided]:
        assert self._windows is not None, "begin() comes before"
        if self._long_form == "sequential":
            guide = self._guide if self._options.vad_skip else None
            left = cut_spans(self._clips(), (self._n_decided, self._stats.n_frames))
            earlier = self._earlier.segments
            return transcribe_sequential(self._windows, self._stages, left, guide, earlier)
        windows, size = self._speech_windows(), self._options.batch_size
        windows = [window for window in windows if window.start >= self._n_decided]
        return transcribe_batched(self._windows, self._stages, windows, size, self._guide)

    def _detect_language(self, source: TimedWindows) -> None:
        """Detect the language where speech is, and leave a source that can begin anew."""
        first = self._first_window()
        if first is None or self._is_stopped:
            return
        windows = self._windows_to_hear(first)
        heard: list[Window] = []

        def read() -> Iterator[tuple[NDArray[np.float32], int]]:
            for window in windows:
                heard.append(window)
                yield source.window(window.start, window.end), window.start

        self._stages.detect_language(read())
        if heard[-1].start > first.start:
            self._windows = self._open_windows()

    def _windows_to_hear(self, first: Window) -> list[Window]:
        """Return the windows that tell the language; `first` is the one that is decoded first."""
        if self._long_form == "batched":
            return self._speech_windows()
        vad, windows = self._options.vad, []
        for clip in self._clips():
            planned = plan_windows(self._speech, clip, vad)
            windows += [make_window(window.start, clip) for window in planned]
        if windows and 2 * self._count_speech(first) < self._count_speech(windows[0]):
            return windows
        # It is encoded anyway, and has much of the speech that the first of the others has.
        return [first, *(window for window in windows if window.start >= first.end)]

    def _first_window(self) -> Window | None:
        """Return the window that is decoded first, if any is."""
        if self._long_form == "batched":
            return next(iter(self._speech_windows()), None)
        for clip in self._clips():
            start = clip.start
            if self._options.vad_skip:
                start = self._guide.skip_silence(start, clip)
            if start < clip.end:
                return make_window(start, clip)
        return None

    def _count_speech(self, window: Window) -> int:
        return count_speech(self._speech, Span(window.start, window.end))

    def _open_windows(self) -> TimedWindows:
        stream = MelStream(self._timed_blocks(), self._stats, self._mel)
        return TimedWindows(stream, self._mel, self.stopwatch)

    def _scan(self) -> MelStats:
        """Read the audio once: its length, its peak and its speech."""
        finder = SpeechFinder(self._options.vad)

        def watched() -> Iterator[NDArray[np.float32]]:
            for block in self._timed_blocks():
                if self._is_stopped:
                    return
                with self.stopwatch.measure("vad", "silero"):
                    finder.add(block)
                self._peak = max(self._peak, float(np.abs(block).max(initial=0)))
                yield block

        with self.stopwatch.measure("mel") as stage:
            stats = scan(watched(), self._mel)
            stage.add_engine(self._mel.name)  # after computing, in which the host may take over
        with self.stopwatch.measure("vad", "silero"):
            self._speech, self._faint = finder.finish(), finder.find_faint()
        self.stopwatch.audio_s = stats.duration_s
        return stats

    @property
    def _damage(self) -> tuple[Damage, ...]:
        """Where the source says that it is not sound; one that cannot say is."""
        return getattr(self._source, "damage", ())

    @property
    def _long_form(self) -> LongForm:
        return self._options.long_form_of(self._stats.duration_s)

    @property
    def _guide(self) -> Guide:
        return Guide(self._speech, self._options.vad.pad_frames, self._faint)

    def _clips(self) -> list[Span]:
        return plan_clips(self._options.clip_timestamps, self._stats.n_frames)

    def _count_frames(self, end: int) -> int:
        """Return how many frames of the clips come before `end`."""
        return sum(b - a for a, b in cut_spans(self._clips(), Span(0, end)))

    def _speech_windows(self) -> list[Window]:
        vad = self._options.vad
        return [w for clip in self._clips() for w in plan_windows(self._speech, clip, vad)]

    def _find_uncovered(self) -> tuple[tuple[float, float], ...]:
        """Return the speech within what is decided that has no text, in seconds."""
        clips = cut_spans(self._clips(), Span(0, self._n_decided))
        heard = [*self._speech, *self._faint]
        speech = [span for clip in clips for span in cut_spans(heard, clip)]
        text = [
            round_span(segment.start, segment.end)
            for segment in self._segments
            if not is_sparse(segment, self._speech)
        ]
        return tuple(span.seconds for span in find_uncovered(speech, text, UNCOVERED_FRAMES))

    def _timed_blocks(self) -> Iterator[NDArray[np.float32]]:
        blocks = self._source.blocks()
        while True:
            with self.stopwatch.measure("audio"):
                block = next(blocks, None)
            if block is None:
                return
            yield block


class TimedWindows:
    """The windows of one audio, timed as stage `mel`."""

    def __init__(self, stream: MelStream, engine: MelEngine, stopwatch: Stopwatch) -> None:
        self._stream = stream
        self._engine = engine
        self._stopwatch = stopwatch

    def window(self, start: int, end: int) -> NDArray[np.float32]:
        """Return (n_mels, N_FRAMES): frames from `start` on and before `end`, then zeros."""
        with self._stopwatch.measure("mel") as stage:
            window = self._stream.window(start, end)
            stage.add_engine(self._engine.name)
        return window
