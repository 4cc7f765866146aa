"""The arrows of the data flow in order: audio → mel → encode → decode → segments, each timed.

Knows every stage by its seam and none by its engine. A file is read twice: openai/whisper
clamps the log-mel against the maximum over the whole file, and holding a long file in memory
is what this avoids; the first pass finds the maximum, and every fault of the file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio import AudioSource
from whisper_npu_cli.checkpoints import open_checkpoint
from whisper_npu_cli.decoder.rules import Rule, SuppressBlank, SuppressTokens, TimestampRules
from whisper_npu_cli.decoder.search import (
    Hypothesis,
    SpecialTokens,
    decode_greedy,
    detect_language,
)
from whisper_npu_cli.dims import (
    FRAMES_PER_SECOND,
    TOKENS_PER_SECOND,
    ModelDims,
)
from whisper_npu_cli.encoder.base import DeviceProof, EncodedWindow
from whisper_npu_cli.engine import EngineOptions, Engines, load_engines
from whisper_npu_cli.longform import split_window, window_size
from whisper_npu_cli.mel import MelStream, scan
from whisper_npu_cli.timing import Timings
from whisper_npu_cli.tokenizer import Tokenizer
from whisper_npu_cli.transcript import Segment, Transcript


@dataclass(frozen=True)
class TranscribeOptions:
    """What to transcribe; names and defaults are openai/whisper's."""

    language: str | None = None  # a code such as "en"; None: detected in the first window
    task: str = "transcribe"  # or "translate", into English
    no_speech_threshold: float = 0.6
    logprob_threshold: float = -1.0
    condition_on_previous_text: bool = True
    max_initial_timestamp_s: float = 1.0


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
        tokenizer = Tokenizer(
            checkpoint.tokenizer_json,
            is_multilingual=checkpoint.generation.is_multilingual,
            source=checkpoint.name,
        )
        engines = load_engines(checkpoint, engine, notice)
    return Transcriber(checkpoint.dims, tokenizer, engines, timings)


@dataclass(frozen=True)
class WindowRecord:
    """Which engine encoded the window at frame `seek`, and how a device proved it."""

    seek: int
    engine: str
    proof: DeviceProof | None


class Transcription:
    """One audio being transcribed. Iterating does the work; then `transcript` is complete."""

    def __init__(
        self,
        transcriber: Transcriber,
        source: AudioSource,
        options: TranscribeOptions,
        timings: Timings,
    ) -> None:
        # An impossible language or task is an error of the whole run: found before any audio.
        if options.language is not None:
            transcriber.tokenizer.sot_sequence(options.language, options.task)
        self.timings = timings
        self.windows: list[WindowRecord] = []
        self._source = source
        self._options = options
        self._engines = transcriber.engines
        self._tokenizer = transcriber.tokenizer
        self._dims = transcriber.dims
        self._rules = token_rules(transcriber.tokenizer, options)
        self._language = options.language
        self._segments: list[Segment] = []
        self._history: list[int] = []  # tokens of earlier segments, the next window's prompt
        self._seek = 0
        self._n_frames = 0

    def __iter__(self) -> Iterator[Segment]:
        """Yield segments as they are decided. Raises AudioError before the first one, or never."""
        with self.timings.measure("mel"):
            stats = scan(self._timed_blocks(), self._dims.n_mels)
        self.timings.audio_s, self._n_frames = stats.duration_s, stats.n_frames
        stream = MelStream(self._timed_blocks(), stats)
        while self._seek < self._n_frames:
            with self.timings.measure("mel"):
                mel = stream.window(self._seek)
            yield from self._decode_window(mel)

    @property
    def progress(self) -> float:
        """Share of the audio that is decided, 0 to 1."""
        return min(1.0, self._seek / self._n_frames) if self._n_frames else 0.0

    @property
    def transcript(self) -> Transcript:
        """What has been decided so far."""
        return Transcript(self._language or "", self.timings.audio_s, tuple(self._segments))

    def _timed_blocks(self) -> Iterator[NDArray[np.float32]]:
        blocks = self._source.blocks()
        while True:
            with self.timings.measure("audio"):
                block = next(blocks, None)
            if block is None:
                return
            yield block

    def _decode_window(self, mel: NDArray[np.float32]) -> list[Segment]:
        """Decode the window at `seek`, move on, and return its segments that have text."""
        encoder, seek = self._engines.encoder, self._seek
        size = window_size(seek, self._n_frames)
        with self.timings.measure("encode", encoder.name):
            encoded = encoder.encode(mel)
        self.windows.append(WindowRecord(seek, encoder.name, encoded.proof))
        with self.timings.measure("decode", self._engines.decoder.name) as stage:
            hypothesis = self._search(encoded)
            stage.tokens += len(hypothesis.tokens)
        if self._is_silence(hypothesis):
            self._seek += size
            return []
        spans, advance = split_window(hypothesis.tokens, self._tokenizer.timestamp_begin, size)
        self._seek += advance
        n_before = len(self._segments)
        for span in spans:
            text = self._tokenizer.decode(span.tokens)
            if span.start_s == span.end_s or not text.strip():
                continue  # openai/whisper empties such a segment; here it is left out
            self._history.extend(span.tokens)
            offset = seek / FRAMES_PER_SECOND
            self._segments.append(
                Segment(
                    id=len(self._segments),
                    seek=seek,
                    start=offset + span.start_s,
                    end=offset + span.end_s,
                    text=text,
                    tokens=span.tokens,
                    temperature=0.0,
                    avg_logprob=hypothesis.avg_logprob,
                    compression_ratio=compression_ratio(self._tokenizer.decode(hypothesis.tokens)),
                    no_speech_prob=hypothesis.no_speech_prob,
                )
            )
        return self._segments[n_before:]

    def _search(self, encoded: EncodedWindow) -> Hypothesis:
        tokenizer, decoder = self._tokenizer, self._engines.decoder
        if self._language is None:
            self._language = self._detect(encoded)
        prompt = tokenizer.sot_sequence(self._language, self._options.task)
        if self._options.condition_on_previous_text and self._history:
            n_previous = self._dims.n_text_ctx // 2 - 1
            prompt = (tokenizer.sot_prev, *self._history[-n_previous:], *prompt)
        special = SpecialTokens(tokenizer.sot, tokenizer.eot, tokenizer.no_speech)
        (hypothesis,) = decode_greedy(decoder, [encoded], np.array([prompt]), self._rules, special)
        return hypothesis

    def _detect(self, encoded: EncodedWindow) -> str:
        if not self._tokenizer.is_multilingual:
            return "en"
        tokenizer = self._tokenizer
        probs = detect_language(
            self._engines.decoder, encoded, tokenizer.sot, tokenizer.language_ids
        )
        return next(iter(probs))

    def _is_silence(self, hypothesis: Hypothesis) -> bool:
        options = self._options
        return (
            hypothesis.no_speech_prob > options.no_speech_threshold
            and hypothesis.avg_logprob <= options.logprob_threshold
        )


def token_rules(tokenizer: Tokenizer, options: TranscribeOptions) -> list[Rule]:
    """Return Whisper's rules for decoding with timestamps."""
    never = {
        *tokenizer.non_speech_tokens,
        tokenizer.transcribe,
        tokenizer.translate,
        tokenizer.sot,
        tokenizer.sot_prev,
        tokenizer.sot_lm,
        tokenizer.no_speech,
    }
    return [
        SuppressBlank((*tokenizer.encode(" "), tokenizer.eot)),
        SuppressTokens(tuple(sorted(never))),
        TimestampRules(
            tokenizer.timestamp_begin,
            tokenizer.eot,
            tokenizer.no_timestamps,
            round(options.max_initial_timestamp_s * TOKENS_PER_SECOND),
        ),
    ]


def compression_ratio(text: str) -> float:
    """Return how well `text` compresses: above 2.4 it is most likely a loop (openai/whisper)."""
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data))
