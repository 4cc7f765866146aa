"""The arrows of the data flow in order: audio → speech, mel → encode → decode → segments, timed.

Knows every stage by its seam and none by its engine. A recording is read twice. openai/whisper
clamps the log-mel against the maximum over the whole audio, and batched mode chooses its windows
by all of the speech: the first pass finds both, and every fault of the input, so that the second
holds no more than a few windows in memory. What arrives and goes on is heard once, and decided
while it arrives (`longform/hearing.py`); if it is short, it is a recording. A source that can be
read only once keeps its samples meanwhile (`make_rereadable`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import dropwhile
from math import log10
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.live import Clock, SystemClock
from whisper_npu_cli.audio.sources import (
    Audio,
    Source,
    listen,
    make_rereadable,
    open_source,
    split_channels,
)
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.dims import CHUNK_S
from whisper_npu_cli.engines.loading import load_engines
from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.longform.batched import transcribe_batched
from whisper_npu_cli.longform.channels import ChannelTranscription
from whisper_npu_cli.longform.decided import DecidedText
from whisper_npu_cli.longform.events import LiveOptions
from whisper_npu_cli.longform.guide import (
    Guide,
    count_speech,
)
from whisper_npu_cli.longform.hearing import Arriving, Ears, Recorded
from whisper_npu_cli.longform.live import Asked, Live, begin
from whisper_npu_cli.longform.parts import (
    Cut,
    DecidedPart,
    Part,
    cut_recording,
    transcribe_part,
)
from whisper_npu_cli.longform.sequential import skip_silence, transcribe_sequential
from whisper_npu_cli.longform.stages import Stages, Stopped
from whisper_npu_cli.longform.windows import Decided, Window, make_window
from whisper_npu_cli.options import BATCHED_FROM_S, EngineOptions, LongForm, TranscribeOptions
from whisper_npu_cli.spans import Span, cut_spans
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

    def transcribe_part(self, audio: Audio, options: TranscribeOptions, part: Part) -> DecidedPart:
        """Transcribe a part of a recording that was cut with the same options."""
        engines, stopwatch = self.engines, Stopwatch()
        stages = Stages(engines, self.tokenizer, options, stopwatch)
        ears = Ears(engines.mel, options.vad, stopwatch)
        decided = tuple(transcribe_part(open_source(audio), part, options, stages, ears))
        return DecidedPart(decided, tuple(stages.windows), stopwatch.read())

    def listen(
        self,
        source: Source,
        options: TranscribeOptions | None = None,
        live: LiveOptions | None = None,
        clock: Clock | None = None,
    ) -> Live:
        """Begin to hear `source`, which is spoken now: iterating yields what is said.

        An empty block of the source says that the next is not there yet. UsageError where
        `options` ask for what only a recording has, or the model has not.
        """
        asked = Asked(options or TranscribeOptions(), live or LiveOptions(), clock or SystemClock())
        return begin(self.engines, self.tokenizer, source, asked)

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
        self._stages = Stages(transcriber.engines, transcriber.tokenizer, options, self.stopwatch)
        self._ears = Ears(transcriber.engines.mel, options.vad, self.stopwatch)
        self._audio: Recorded | Arriving | None = None
        self._earlier = progress
        self._text = DecidedText(options, progress)
        self._is_iterated = self._is_stopped = self._is_complete = False

    def begin(self) -> TranscriptionInfo:
        """Read the audio once and find its language; iterating does so where nobody did.

        Of audio that arrives, it hears the beginning. Raises AudioError for an input that cannot
        be transcribed.
        """
        if self._audio is None:
            self._audio = self._listen() or self._read()
            if self._earlier.language is not None:
                self._stages.language = self._earlier.language
                self._stages.language_probs = dict(self._earlier.language_probs)
            elif self._stages.language is None:
                self._detect_language(self._audio)
        return TranscriptionInfo(
            duration_s=self._duration_s,
            language=self._stages.language or "",
            language_probs=self._stages.language_probs,
            long_form=self._long_form,
        )

    def __iter__(self) -> Iterator[Segment]:
        """Yield segments as they are decided. Raises AudioError before the first one, or never.

        A source of the caller's that fails later, while its audio arrives, raises what it raises.

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
        """Share of the audio that is decided, 0 to 1; while it arrives, of what was heard."""
        n_frames = self._audio.stats.n_frames if self._audio is not None else 0
        return min(1.0, self._text.end_frame / n_frames) if n_frames else 0.0

    @property
    def work_done(self) -> float:
        """Share of this transcription's work that is done, 0 to 1, with windows in the making."""
        n_frames = self._audio.stats.n_frames if self._audio is not None else 0
        done = self._stages.estimate_done(self._text.end_frame, n_frames)
        ends = self._earlier.end_frame, done, n_frames
        earlier, done, total = (self._count_frames(end) for end in ends)
        return (done - earlier) / (total - earlier) if total > earlier else 0.0

    @property
    def checkpoint(self) -> Progress:
        """What has been decided so far, for a later transcription to go on from."""
        stages, segments = self._stages, tuple(self._text.segments)
        return Progress(self._text.end_frame, stages.language, stages.language_probs, segments)

    def cut(self, longest_s: float) -> Cut | None:
        """Return a recording that was begun in parts of at most `longest_s`.

        They may be transcribed apart (`Transcriber.transcribe_part`). None where it is not longer,
        or is not transcribed in batches.
        """
        if self._long_form != "batched" or not isinstance(self._audio, Recorded):
            return None
        return cut_recording(self._audio.survey, self.checkpoint, self._options, longest_s)

    @property
    def result(self) -> Result:
        """What has been decided so far: all of it once the iteration has ended."""
        transcript = Transcript(
            language=self._stages.language or "",
            duration_s=self._duration_s,
            segments=tuple(self._text.segments),
            language_probs=self._stages.language_probs,
        )
        peak = self._audio.peak if self._audio is not None else 0.0
        return Result(
            transcript=transcript,
            timings=self.stopwatch.read(),
            windows=tuple(self._stages.windows),
            uncovered=self._text.find_uncovered(self._audio) if self._audio else (),
            long_form=self._long_form,
            is_complete=self._is_complete,
            damage=self._damage,
            peak_dbfs=20 * log10(peak) if peak else None,
        )

    def _decide(self) -> Iterator[Segment]:
        self.begin()
        assert self._audio is not None
        decided_windows = self._decided_windows(self._audio)
        while not self._is_stopped:
            try:
                decided = next(decided_windows, None)
            except Stopped:
                return
            if decided is None:
                self._text.end_frame = self._audio.stats.n_frames
                self._is_complete = True
                return
            yield from self._text.add(decided, self._audio)

    def _listen(self) -> Arriving | None:
        """Return what arrives, if it is still arriving once it is long enough to begin with.

        Until then `auto` does not know how it is decoded. None where all of it is needed before.
        """
        options = self._options
        blocks = None if options.strict or options.clip_timestamps else listen(self._source)
        if blocks is None:
            return None
        arriving = Arriving(blocks, self._ears)
        least_s = BATCHED_FROM_S if options.long_form == "auto" else CHUNK_S
        while arriving.stats.duration_s <= least_s and not (arriving.is_ended or self._is_stopped):
            arriving.hear()
        return None if arriving.is_ended else arriving

    def _read(self) -> Recorded:
        """Return all of a recording."""
        recorded = Recorded.hear(self._source, self._ears, lambda: self._is_stopped)
        self._refuse(recorded)
        return recorded

    def _refuse(self, recorded: Recorded) -> None:
        """Raise AudioError where the audio is not what the options ask for."""
        if self._options.strict and self._damage:
            raise AudioError(
                f"{self._source.name}: {describe_damage(self._damage)}",
                hint="copy or download it again, or leave out --strict",
            )
        starts, duration_s = self._options.clip_timestamps[::2], recorded.stats.duration_s
        if starts and max(starts) >= duration_s and not self._is_stopped:
            raise AudioError(
                f"{self._source.name}: the part from {max(starts):g} s on is beyond its end",
                hint=f"it has {duration_s:.1f} s",
            )

    def _decided_windows(self, audio: Recorded | Arriving) -> Iterator[Decided]:
        clips = audio.find_clips(self._options.clip_timestamps)
        if self._long_form == "sequential":
            left = cut_spans(clips, (self._text.end_frame, sys.maxsize))
            guide, earlier = self._skipping(audio), self._earlier.segments
            return transcribe_sequential(audio, self._stages, left, guide, earlier)
        windows = dropwhile(
            lambda window: window is not None and window.start < self._earlier.end_frame,
            audio.plan_windows(clips),
        )
        size = self._options.batch_size
        is_first = not self._earlier.end_frame
        return transcribe_batched(
            audio, self._stages, windows, size, self._guide(audio), is_first=is_first
        )

    def _count_frames(self, end: int) -> int:
        """Return how many frames of the clips come before `end`."""
        clips = self._audio.find_clips(self._options.clip_timestamps) if self._audio else []
        return sum(b - a for a, b in cut_spans(clips, Span(0, end)))

    def _detect_language(self, audio: Recorded | Arriving) -> None:
        """Detect the language where speech is, and leave audio whose windows begin anew."""
        clips = audio.find_clips(self._options.clip_timestamps)
        first = self._first_window(audio, clips)
        if first is None or self._is_stopped:
            return
        windows = [first]  # which decides for what arrives
        if isinstance(audio, Recorded):
            windows = self._windows_to_hear(audio, clips, first)
        heard: list[Window] = []

        def read() -> Iterator[tuple[NDArray[np.float32], int]]:
            for window in windows:
                if heard and self._is_stopped:
                    return
                heard.append(window)
                yield audio.window(window.start, window.end), window.start

        self._stages.detect_language(read())
        if isinstance(audio, Recorded) and heard[-1].start > first.start:
            audio.rewind()

    def _windows_to_hear(
        self, audio: Recorded, clips: Sequence[Span], first: Window
    ) -> list[Window]:
        """Return the windows that tell the language; `first` is the one that is decoded first."""
        if self._long_form == "batched":
            return list(audio.plan_windows(clips))
        windows = [
            make_window(window.start, clip)
            for clip in clips
            for window in audio.plan_windows([clip])
        ]
        if windows and 2 * _count(audio, first) < _count(audio, windows[0]):
            return windows
        # It is encoded anyway, and has much of the speech that the first of the others has.
        return [first, *(window for window in windows if window.start >= first.end)]

    def _first_window(self, audio: Recorded | Arriving, clips: Sequence[Span]) -> Window | None:
        """Return the window that is decoded first, if any is."""
        if self._long_form == "batched":
            return next(filter(None, audio.plan_windows(clips)), None)
        for clip in clips:
            heard, start = skip_silence(audio, clip, clip.start, self._skipping(audio))
            if start < heard.end:
                return make_window(start, heard)
        return None

    @property
    def _duration_s(self) -> float:
        """Length of what was heard."""
        return self._audio.stats.duration_s if self._audio is not None else 0.0

    @property
    def _damage(self) -> tuple[Damage, ...]:
        """Where the source says that it is not sound; one that cannot say is."""
        return getattr(self._source, "damage", ())

    @property
    def _long_form(self) -> LongForm:
        return self._options.long_form_of(self._duration_s)

    def _guide(self, audio: Recorded | Arriving) -> Guide:
        return Guide(audio.speech, self._options.vad.pad_frames, audio.faint)

    def _skipping(self, audio: Recorded | Arriving) -> Guide | None:
        return self._guide(audio) if self._options.vad_skip else None


def _count(audio: Recorded, window: Window) -> int:
    return count_speech(audio.speech, Span(window.start, window.end))
