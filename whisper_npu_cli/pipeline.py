"""The arrows of the data flow in order: audio → speech, mel → encode → decode → segments, timed.

Knows every stage by its seam and none by its engine. A file is read twice: openai/whisper
clamps the log-mel against the maximum over the whole file, and holding a long file in memory
is what this avoids; the first pass finds the maximum, the speech, and every fault of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.mel import MelStats, MelStream, scan
from whisper_npu_cli.audio.sources import Audio, Source, open_source, rereadable
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.dims import FRAMES_PER_SECOND
from whisper_npu_cli.engines.loading import load_engines
from whisper_npu_cli.longform.batched import transcribe_batched
from whisper_npu_cli.longform.segments import clip_frames
from whisper_npu_cli.longform.sequential import Decided, transcribe_sequential
from whisper_npu_cli.longform.stages import Stages, WindowRecord
from whisper_npu_cli.longform.words import in_order
from whisper_npu_cli.options import EngineOptions, LongForm, TranscribeOptions
from whisper_npu_cli.speech.detect import Bounds, SpeechFinder, make_windows, uncovered, within
from whisper_npu_cli.timings import Timings
from whisper_npu_cli.transcript import Segment, Transcript

_UNCOVERED_FRAMES = 100  # speech without text is reported from 1 s: timestamps are not exact


class Transcriber:
    """A loaded model; a context manager. Give it audio, one after another."""

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
        self._timings = Timings()  # of loading: a row of the first transcription
        with self._timings.measure("load"):
            checkpoint = open_checkpoint(model, offline=offline)
            self.tokenizer = checkpoint.tokenizer()
            self.engines = load_engines(checkpoint, engine or EngineOptions(), notice)
        self.dims = checkpoint.dims

    def transcribe(self, audio: Audio, options: TranscribeOptions | None = None) -> Transcription:
        """Begin a transcription; iterate over it for the segments.

        UsageError where `options` ask for what the model does not have.
        """
        source = rereadable(open_source(audio))
        timings, self._timings = self._timings, Timings()
        return Transcription(self, source, options or TranscribeOptions(), timings)

    def close(self) -> None:
        """Release the engines."""
        self.engines.close()

    def __enter__(self) -> Transcriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Transcription:
    """One audio being transcribed. Iterating does the work; then `transcript` is complete."""

    def __init__(
        self,
        transcriber: Transcriber,
        source: Source,
        options: TranscribeOptions,
        timings: Timings,
    ) -> None:
        self.timings = timings
        self.is_complete = False
        self._source = source
        self._options = options
        self._n_mels = transcriber.dims.n_mels
        self._stages = Stages(transcriber.engines, transcriber.tokenizer, options, timings)
        self._segments: list[Segment] = []
        self._speech: list[Bounds] = []
        self._n_decided = self._n_frames = 0
        self._is_stopped = False

    def __iter__(self) -> Iterator[Segment]:
        """Yield segments as they are decided. Raises AudioError before the first one, or never."""
        stats = self._scan()
        windows = TimedWindows(MelStream(self._timed_blocks(), stats), self.timings)
        decided_windows = self._decide(windows)
        end_s = 0.0
        while not self._is_stopped:
            decided = next(decided_windows, None)
            if decided is None:
                self._n_decided = stats.n_frames
                self.is_complete = True
                return
            for segment in decided.segments:
                (ordered,) = in_order([segment], end_s, stats.duration_s)
                self._segments.append(replace(ordered, id=len(self._segments)))
                end_s = ordered.end
                yield self._segments[-1]
            self._n_decided = decided.end_frame

    def stop(self) -> None:
        """End the iteration after the segments of the windows that are being decoded."""
        self._is_stopped = True

    @property
    def long_form(self) -> LongForm:
        """How the audio is transcribed; known once the first segment is."""
        return self._options.long_form_of(self.timings.audio_s)

    @property
    def windows(self) -> list[WindowRecord]:
        """What encoded each window."""
        return self._stages.windows

    @property
    def progress(self) -> float:
        """Share of the audio that is decided, 0 to 1."""
        return min(1.0, self._n_decided / self._n_frames) if self._n_frames else 0.0

    @property
    def transcript(self) -> Transcript:
        """What has been decided so far."""
        stages = self._stages
        return Transcript(
            language=stages.language or "",
            duration_s=self.timings.audio_s,
            segments=tuple(self._segments),
            language_probs=stages.language_probs,
            uncovered=self._uncovered(),
        )

    def _scan(self) -> MelStats:
        """Read the audio once: its length, its peak and its speech."""
        finder = SpeechFinder(self._options.vad)

        def watched() -> Iterator[NDArray[np.float32]]:
            for block in self._timed_blocks():
                if self._is_stopped:
                    return
                with self.timings.measure("vad", "silero"):
                    finder.add(block)
                yield block

        with self.timings.measure("mel"):
            stats = scan(watched(), self._n_mels)
        with self.timings.measure("vad", "silero"):
            self._speech = finder.finish()
        self.timings.audio_s, self._n_frames = stats.duration_s, stats.n_frames
        return stats

    def _decide(self, windows: TimedWindows) -> Iterator[Decided]:
        options = self._options
        if self.long_form == "sequential":
            return transcribe_sequential(windows, self._stages, self._clips())
        speech_windows = [
            window
            for clip in self._clips()
            for window in make_windows(self._speech, clip, options.vad)
        ]
        return transcribe_batched(windows, self._stages, speech_windows, options.batch_size)

    def _clips(self) -> list[Bounds]:
        return clip_frames(self._options.clip_timestamps, self._n_frames)

    def _uncovered(self) -> tuple[tuple[float, float], ...]:
        """Return the speech within what is decided that has no text, in seconds."""
        clips = within(self._clips(), (0, self._n_decided))
        speech = [span for clip in clips for span in within(self._speech, clip)]
        text = [
            (round(s.start * FRAMES_PER_SECOND), round(s.end * FRAMES_PER_SECOND))
            for s in self._segments
        ]
        return tuple(
            (start / FRAMES_PER_SECOND, end / FRAMES_PER_SECOND)
            for start, end in uncovered(speech, text, _UNCOVERED_FRAMES)
        )

    def _timed_blocks(self) -> Iterator[NDArray[np.float32]]:
        blocks = self._source.blocks()
        while True:
            with self.timings.measure("audio"):
                block = next(blocks, None)
            if block is None:
                return
            yield block


class TimedWindows:
    """The windows of one audio, timed as stage `mel`."""

    def __init__(self, stream: MelStream, timings: Timings) -> None:
        self._stream = stream
        self._timings = timings

    def window(self, seek: int) -> NDArray[np.float32]:
        """Return (n_mels, N_FRAMES) from frame `seek`."""
        with self._timings.measure("mel"):
            return self._stream.window(seek)
