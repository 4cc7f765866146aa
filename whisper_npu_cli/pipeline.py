"""The arrows of the data flow in order: audio → mel → encode → decode → segments, each timed.

Knows every stage by its seam and none by its engine. A file is read twice: openai/whisper
clamps the log-mel against the maximum over the whole file, and holding a long file in memory
is what this avoids; the first pass finds the maximum, and every fault of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio import AudioSource
from whisper_npu_cli.checkpoints import open_checkpoint
from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.engine import EngineOptions, Engines, load_engines
from whisper_npu_cli.longform import clip_frames
from whisper_npu_cli.mel import MelStream, scan
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.sequential import transcribe_sequential
from whisper_npu_cli.stages import Stages, WindowRecord
from whisper_npu_cli.timing import Timings
from whisper_npu_cli.tokenizer import Tokenizer
from whisper_npu_cli.transcript import Segment, Transcript


class Transcriber:
    """A loaded model. Give it audio, one source after another."""

    def __init__(
        self, dims: ModelDims, tokenizer: Tokenizer, engines: Engines, timings: Timings
    ) -> None:
        self.dims = dims
        self.tokenizer = tokenizer
        self.engines = engines
        self._timings = timings  # of loading: a row of the first transcription, which waited for it

    def transcribe(self, source: AudioSource, options: TranscribeOptions) -> Transcription:
        """Begin a transcription; iterate over it for the segments."""
        timings, self._timings = self._timings, Timings()
        return Transcription(self, source, options, timings)

    def __enter__(self) -> Transcriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.engines.close()


def load_transcriber(
    model: str, engine: EngineOptions, *, offline: bool, notice: Callable[[str], None]
) -> Transcriber:
    """Find, read and load `model`; `notice` gets a line before anything slow.

    Raises CheckpointError for a model that cannot be had, DeviceError for an engine that cannot.
    """
    timings = Timings()
    with timings.measure("load"):
        checkpoint = open_checkpoint(model, offline=offline)
        tokenizer = checkpoint.tokenizer()
        engines = load_engines(checkpoint, engine, notice)
    return Transcriber(checkpoint.dims, tokenizer, engines, timings)


class Transcription:
    """One audio being transcribed. Iterating does the work; then `transcript` is complete."""

    def __init__(
        self,
        transcriber: Transcriber,
        source: AudioSource,
        options: TranscribeOptions,
        timings: Timings,
    ) -> None:
        self.timings = timings
        self._source = source
        self._options = options
        self._n_mels = transcriber.dims.n_mels
        self._stages = Stages(transcriber.engines, transcriber.tokenizer, options, timings)
        self._segments: list[Segment] = []
        self._n_decided = self._n_frames = 0

    def __iter__(self) -> Iterator[Segment]:
        """Yield segments as they are decided. Raises AudioError before the first one, or never."""
        with self.timings.measure("mel"):
            stats = scan(self._timed_blocks(), self._n_mels)
        self.timings.audio_s, self._n_frames = stats.duration_s, stats.n_frames
        clips = clip_frames(self._options.clip_timestamps, stats.n_frames)
        windows = TimedWindows(MelStream(self._timed_blocks(), stats), self.timings)
        for decided in transcribe_sequential(windows, self._stages, clips):
            self._n_decided = decided.end_frame
            for segment in decided.segments:
                self._segments.append(replace(segment, id=len(self._segments)))
                yield self._segments[-1]

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
