"""The heavy stages of one transcription, each timed: windows to encoded windows to tokens.

Both long-form modes are built on them. This module does not know how windows are chosen.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.decoding.align import Spoken, TimedWord, align_words
from whisper_npu_cli.decoding.language import detect_language
from whisper_npu_cli.decoding.prompt import History, PromptBuilder
from whisper_npu_cli.decoding.retry import DecodedWindow, PromptedWindow, WindowDecoder
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.engines.base import CrossKV, encode_each
from whisper_npu_cli.engines.loading import Engines
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.longform.words import add_words
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.timings import Stopwatch
from whisper_npu_cli.transcript import EncodedBy, Segment

# Of base, in windows of one language the second had at most 0.055, where it translated one of two
# languages at least 0.13.
_SECOND_LANGUAGE = 0.1
_HALF_STEPS = 50  # a window of speech takes about 100 tokens


class Stopped(Exception):  # noqa: N818, nothing is wrong
    """Windows that are decoded together are given up."""


class Stages:
    """The engines and options of one transcription.

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
        self.windows: list[EncodedBy] = []  # the windows encoded so far
        self.is_stopped = False  # windows that are decoded together then raise Stopped
        self.language_probs: dict[str, float] = {}  # of the audio; empty if not detected
        self._engines = engines
        self._options = options
        self._stopwatch = stopwatch
        self._n_steps = 0  # of the decoding in progress
        self._held: dict[int, CrossKV] = {}  # by their frames; kept after detect_language
        self._decoder = WindowDecoder(
            engines.decoder, tokenizer, options.decoding, self._before_step
        )
        self._prompts = PromptBuilder(
            tokenizer, options.decoding, options.task, engines.decoder.dims.n_text_ctx
        )
        self.language = options.language if tokenizer.is_multilingual else "en"
        # A language or task that the model lacks is refused before any audio is read.
        if options.language is not None or not tokenizer.is_multilingual:
            tokenizer.sot_sequence(options.language, options.task)
        if options.multilingual and not tokenizer.is_multilingual:
            raise UsageError(
                "an English-only model cannot detect languages", hint="use one without '.en'"
            )

    def begin_history(self) -> History:
        """Begin the history of the audio."""
        return self._prompts.begin_history()

    @property
    def encodes_ahead(self) -> bool:
        """Whether windows are encoded while others are decoded: the encoder needs no core."""
        return self._engines.encoder.leaves_cpu

    @property
    def has_prefix(self) -> bool:
        """Whether the prompt of the first window is longer than the others."""
        return bool(self._options.decoding.prefix)

    def encode(self, mel: NDArray[np.float32], seek: int) -> CrossKV:
        """Encode one window (n_mels, N_FRAMES), which begins at frame `seek` of the audio.

        May be called from any thread.
        """
        (window,) = self.encode_each([(mel, seek)])
        return window

    def encode_each(
        self, windows: Sequence[tuple[NDArray[np.float32], int]]
    ) -> Generator[CrossKV, None, None]:
        """Yield each of `windows` encoded: mels with their first frames, in order of time."""
        last = windows[-1][1]
        held, self._held = self._held, {k: v for k, v in self._held.items() if k > last}
        return self._encode_each(windows, held)

    def _encode_each(
        self, windows: Sequence[tuple[NDArray[np.float32], int]], held: Mapping[int, CrossKV]
    ) -> Generator[CrossKV, None, None]:
        turns = [windows] if self._engines.takes_several else [[window] for window in windows]
        for turn in turns:  # others have theirs between
            yield from self._encode_turn(turn, held)

    def _encode_turn(
        self, windows: Sequence[tuple[NDArray[np.float32], int]], held: Mapping[int, CrossKV]
    ) -> Iterator[CrossKV]:
        """Yield `windows` encoded, but for those that are `held`, by their frames."""
        mels = [mel for mel, seek in windows if seek not in held]
        with self._engines.encoding() as encoder, closing(encode_each(encoder, mels)) as encoded:
            for _, seek in windows:
                if seek in held:
                    yield held[seek]
                    continue
                with self._stopwatch.measure("encode") as stage:
                    window = next(encoded)
                    stage.add_engine(encoder.name)  # after it, for the fallback may take over
                    kept = self._engines.decoder.cross_kv(window)
                    self.windows.append(EncodedBy(seek, encoder.name, window.proof))
                yield kept

    def decode(
        self,
        windows: Sequence[CrossKV],
        previous: Sequence[int] = (),  # tokens of earlier text
        *,
        first: bool = False,  # whether the audio begins with them
        language: str | None = None,  # of the text before; none: that of the audio
        begun: Sequence[int] = (),  # tokens that the text of each goes on from
    ) -> list[DecodedWindow]:
        """Decode `windows` together, with fallback to higher temperatures.

        Where the language of the audio was detected, a window in which another is likelier is
        decoded in both.
        """

        def prompt(window: CrossKV, code: str, previous: Sequence[int]) -> PromptedWindow:
            tokens = self._prompts.build(code, previous, first=first, begun=begun)
            return PromptedWindow(window, code, tokens)

        name = self._engines.decoder.name
        with self._engines.decoding(), self._stopwatch.measure("decode", name) as stage:
            ranked = self._rank_languages(windows) if self._may_change else []
            likeliest = [next(iter(probs.items())) for probs in ranked]
            languages = [language or self.language or ""] * len(windows)
            if self._options.multilingual:
                languages = [code for code, _ in likeliest]
            initial = self.begin_history().tokens  # text of another language would mislead
            others = {
                i: prompt(windows[i], code, initial)
                for i, (code, prob) in enumerate(likeliest)
                if code != languages[i] and prob >= self._options.language_detection_threshold
            }
            prompted = [
                prompt(window, code, previous)
                for window, code in zip(windows, languages, strict=True)
            ]
            decoded = self._decoder.decode(prompted, others)
            stage.tokens += sum(len(window.tokens) for window in decoded)
        self._n_steps = 0
        if not self._options.token_logprobs:
            return [replace(window, logprobs=()) for window in decoded]
        return decoded

    def add_words(
        self,
        window: CrossKV,
        segments: Sequence[Segment],  # all segments of the window
        n_frames: int,  # content of the window, without its padding
        last_speech_s: float,  # end of the speech before the window
    ) -> list[Segment]:
        """Return the segments with their words, where words are asked for."""
        if self.words is None or not segments:
            return list(segments)
        texts = [[t for t in segment.tokens if t < self.tokenizer.eot] for segment in segments]
        timed = self.align(window, list(chain(*texts)), segments[0].language, n_frames)
        n_tokens = [len(text) for text in texts]
        return add_words(segments, n_tokens, timed, self.words, last_speech_s)

    def align(
        self, window: CrossKV, tokens: Sequence[int], language: str, n_frames: int
    ) -> list[TimedWord]:
        """Return the words of text `tokens` in a window with `n_frames` of content."""
        spoken = Spoken(tokens, language, self._options.task, n_frames)
        name = self._engines.decoder.name
        with self._engines.decoding(), self._stopwatch.measure("align", name):
            return align_words(self._engines.decoder, window, self.tokenizer, spoken)

    def is_silence(self, window: DecodedWindow) -> bool:
        """Return whether to skip the window as silent."""
        return self._decoder.is_silence(window)

    def is_repetitive(self, window: DecodedWindow) -> bool:
        """Return whether the text repeats itself, as no speaker does."""
        return self._decoder.is_repetitive(window)

    @property
    def is_language_sure(self) -> bool:
        """Whether the language was given, or was heard with the probability that is asked for."""
        threshold = self._options.language_detection_threshold
        return self.language is not None and (
            not self.language_probs or self.language_probs[self.language] >= threshold
        )

    def detect_language(self, windows: Iterable[tuple[NDArray[np.float32], int]]) -> None:
        """Detect the language of the audio in `windows`: each its mel and its first frame.

        The first window that is sure decides, else the mean of their probabilities. What is
        encoded is kept.
        """
        options, heard = self._options, []
        held: dict[int, CrossKV] = {}
        for mel, seek in islice(windows, options.language_detection_segments):
            encoded = held[seek] = self.encode(mel, seek)
            probs = self._rank_in_turn(encoded)
            heard.append(probs)
            if max(probs.values()) >= options.language_detection_threshold:
                heard = [probs]
                break
        self._held = held
        means = {code: fmean(probs[code] for probs in heard) for code in heard[0]}
        self.language_probs = dict(sorted(means.items(), key=lambda item: -item[1]))
        self.language = next(iter(self.language_probs))

    def is_mixed(self, window: CrossKV) -> bool:
        """Return whether two languages are likely in a window; not where one was given."""
        if not self._may_change:
            return False
        _, *others = self._rank_in_turn(window).values()
        return any(prob >= _SECOND_LANGUAGE for prob in others)

    def tell_language(self, mel: NDArray[np.float32], seek: int) -> str | None:
        """Return the language of a part of a window, None where none is likely enough.

        It is the part's mel (n_mels, N_FRAMES), which begins at frame `seek` of the audio.
        """
        (encoded,) = self._encode_each([(mel, seek)], {})
        code, prob = next(iter(self._rank_in_turn(encoded).items()))
        return code if prob >= self._options.language_detection_threshold else None

    def estimate_done(self, n_decided: int, n_frames: int) -> int:
        """Return the frame, at most `n_frames`, up to which the work is as good as done.

        Eight windows of a large model are in the making for minutes: one that is encoded counts
        half, and half of what is left then for every `_HALF_STEPS` steps of its decoding.
        """
        ends = [n_decided, *(window.seek + N_FRAMES for window in self.windows)]
        share: float = 1 - 0.5 ** (1 + self._n_steps / _HALF_STEPS)
        return n_decided + round(share * (min(n_frames, max(ends)) - n_decided))

    def _before_step(self, n_windows: int) -> None:
        """Raise Stopped where it is time to; a window alone is finished, in a second or two."""
        self._n_steps += 1
        if self.is_stopped and n_windows > 1:
            raise Stopped

    @property
    def _may_change(self) -> bool:
        """Whether a window may be in another language than the audio: none was given."""
        return bool(self.language_probs) or self._options.multilingual

    def _rank_in_turn(self, window: CrossKV) -> dict[str, float]:
        name = self._engines.decoder.name
        with self._engines.decoding(), self._stopwatch.measure("decode", name):
            return self._rank_languages([window])[0]

    def _rank_languages(self, windows: Sequence[CrossKV]) -> list[dict[str, float]]:
        return detect_language(self._engines.decoder, windows, self.tokenizer)
