"""The heavy stages of one transcription, each timed: windows to encoded windows to tokens.

Both long-form modes are built on these. Knows nothing of how windows are chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.decoding.align import Spoken, align_words
from whisper_npu_cli.decoding.language import detect_language
from whisper_npu_cli.decoding.prompt import History, PromptBuilder
from whisper_npu_cli.decoding.retry import DecodedWindow, Task, WindowDecoder
from whisper_npu_cli.engines.base import CrossKV
from whisper_npu_cli.engines.loading import Engines
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.longform.words import add_words
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.timings import Stopwatch
from whisper_npu_cli.transcript import EncodedBy, Segment


class Stages:
    """Engines and options of one transcription.

    UsageError where `options` ask for a language or a task that the model does not have.
    """

    def __init__(
        self,
        engines: Engines,
        tokenizer: Tokenizer,
        options: TranscribeOptions,
        stopwatch: Stopwatch,
    ) -> None:
        self.tokenizer = tokenizer
        self.words = options.words
        self.windows: list[EncodedBy] = []  # encoded so far
        self.language_probs: dict[str, float] = {}  # of the first window; empty: not detected
        self._engines = engines
        self._options = options
        self._stopwatch = stopwatch
        self._held: tuple[int, CrossKV] | None = None  # encoded for its language, by its frame
        self._decoder = WindowDecoder(engines.decoder, tokenizer, options.decoding)
        self._prompts = PromptBuilder(
            tokenizer, options.decoding, options.task, engines.decoder.dims.n_text_ctx
        )
        self.language = options.language if tokenizer.is_multilingual else "en"
        # What the model lacks is an error of the whole run: found before any audio.
        if options.language is not None or not tokenizer.is_multilingual:
            tokenizer.sot_sequence(options.language, options.task)
        if options.multilingual and not tokenizer.is_multilingual:
            raise UsageError(
                "an English-only model cannot detect languages", hint="use one without '.en'"
            )

    def history(self) -> History:
        """Begin the history of the audio."""
        return self._prompts.history()

    @property
    def encodes_ahead(self) -> bool:
        """Whether windows are encoded while others are decoded: where that takes no core."""
        return self._engines.encoder.leaves_cpu

    @property
    def has_prefix(self) -> bool:
        """Whether the prompt of the first window is longer than the others."""
        return bool(self._options.decoding.prefix)

    def encode(self, mel: NDArray[np.float32], seek: int) -> CrossKV:
        """Encode one window (n_mels, N_FRAMES), which begins at frame `seek` of the audio.

        May be called from any thread.
        """
        held, self._held = self._held, None
        if held is not None and held[0] == seek:
            return held[1]
        with self._engines.encoding() as encoder, self._stopwatch.measure("encode") as stage:
            encoded = encoder.encode(mel)
            stage.add_engine(encoder.name)  # only now: another may have taken over
            kept = self._engines.decoder.cross_kv(encoded)
            self.windows.append(EncodedBy(seek, encoder.name, encoded.proof))
        return kept

    def decode(
        self,
        windows: Sequence[CrossKV],
        previous: Sequence[int] = (),  # tokens of the text before
        *,
        first: bool = False,  # in the audio
    ) -> list[DecodedWindow]:
        """Decode `windows` together, with fallback."""
        name = self._engines.decoder.name
        with self._engines.decoding(), self._stopwatch.measure("decode", name) as stage:
            tasks = [
                Task(window, language, self._prompts.build(language, previous, first=first))
                for window, language in zip(windows, self._languages(windows), strict=True)
            ]
            decoded = self._decoder.decode(tasks)
            stage.tokens += sum(len(window.tokens) for window in decoded)
        return decoded

    def add_words(
        self,
        window: CrossKV,
        segments: Sequence[Segment],  # all of the window
        n_frames: int,  # of the window that are content
        last_speech_s: float,  # before it
    ) -> list[Segment]:
        """Return the segments with their words, where words are asked for."""
        if self.words is None or not segments:
            return list(segments)
        texts = [[t for t in segment.tokens if t < self.tokenizer.eot] for segment in segments]
        spoken = Spoken(list(chain(*texts)), segments[0].language, self._options.task, n_frames)
        name = self._engines.decoder.name
        with self._engines.decoding(), self._stopwatch.measure("align", name):
            timed = align_words(self._engines.decoder, window, self.tokenizer, spoken)
        n_tokens = [len(text) for text in texts]
        return add_words(segments, n_tokens, timed, self.words, last_speech_s)

    def is_silence(self, window: DecodedWindow) -> bool:
        """Return whether the window is to be skipped."""
        return self._decoder.is_silence(window)

    def detect_language(self, mel: NDArray[np.float32], seek: int) -> None:
        """Take the language of the audio from its first window, which stays encoded."""
        encoded = self.encode(mel, seek)
        self._held = seek, encoded
        name = self._engines.decoder.name
        with self._engines.decoding() as decoder, self._stopwatch.measure("decode", name):
            (self.language_probs,) = detect_language(decoder, [encoded], self.tokenizer)
        self.language = next(iter(self.language_probs))

    def _languages(self, windows: Sequence[CrossKV]) -> list[str]:
        """Return the language of each window: that of the audio, or its own."""
        if self._options.multilingual:
            ranked = detect_language(self._engines.decoder, windows, self.tokenizer)
            return [next(iter(probs)) for probs in ranked]
        assert self.language is not None, "detect_language() comes before"
        return [self.language] * len(windows)
