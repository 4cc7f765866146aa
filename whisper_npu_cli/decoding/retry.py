"""Windows to tokens, decoded again at a higher temperature where the text cannot be trusted."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.decoding.beam import BeamPolicy
from whisper_npu_cli.decoding.rules import make_token_rules
from whisper_npu_cli.decoding.sampling import SamplingPolicy
from whisper_npu_cli.decoding.search import Policy, Prompts, choose_likeliest, search
from whisper_npu_cli.engines.base import CrossKV, Decoder
from whisper_npu_cli.options import DecodingOptions


@dataclass(frozen=True)
class DecodedWindow:
    """The tokens of one window, without the end of text, and the model's confidence in them."""

    language: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    last_temperature: float = 0.0  # the highest that was tried; `temperature` unless all failed
    logprobs: tuple[float, ...] = ()  # of the tokens


@dataclass(frozen=True)
class PromptedWindow:
    """An encoded window, its language (a code), and the prompt before its text."""

    encoded: CrossKV
    language: str
    prompt: tuple[int, ...]


class WindowDecoder:
    """Decode any number of encoded windows to tokens."""

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Tokenizer,
        options: DecodingOptions,
        before_step: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Call `before_step` with the number of windows before each token: it may raise."""
        self._before_step = before_step
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._options = options
        self._rules = make_token_rules(tokenizer, options)

    def decode(
        self,
        windows: Sequence[PromptedWindow],
        others: Mapping[int, PromptedWindow] = MappingProxyType({}),
    ) -> list[DecodedWindow]:
        """Decode windows together; their prompts have equal lengths.

        Windows that may be in another language, `others` by number, are decoded in both.
        The windows that fail are decoded again, together, at the next temperature. Of a window that
        fails at every temperature the best text is returned.
        """
        rng = np.random.default_rng(self._options.seed)
        first, *higher = self._options.temperatures
        prompted, tried = list(windows), self._decode_at(first, windows, rng)
        in_others = self._decode_at(first, list(others.values()), rng) if others else []
        for i, one in zip(others, in_others, strict=True):
            if self._trust(one) > self._trust(tried[i]):
                prompted[i], tried[i] = others[i], one
        return self._retry(prompted, tried, higher, rng)

    def _retry(
        self,
        windows: Sequence[PromptedWindow],
        tried: Sequence[DecodedWindow],
        temperatures: Sequence[float],
        rng: np.random.Generator,
    ) -> list[DecodedWindow]:
        attempts = [[one] for one in tried]
        pending = [i for i, one in enumerate(tried) if self._needs_fallback(one)]
        for temperature in temperatures:
            if not pending:
                break
            again = self._decode_at(temperature, [windows[i] for i in pending], rng)
            for i, one in zip(pending, again, strict=True):
                attempts[i].append(one)
            pending = [i for i in pending if self._needs_fallback(attempts[i][-1])]
        chosen = [one[-1] for one in attempts]
        for i in pending:
            chosen[i] = self._choose_best(attempts[i])
        return [
            replace(one, last_temperature=all_[-1].temperature)
            for one, all_ in zip(chosen, attempts, strict=True)
        ]

    def is_silence(self, window: DecodedWindow) -> bool:
        """Return whether to skip the window, because silence is likely and its text is not."""
        options = self._options
        if options.no_speech_threshold is None:
            return False
        is_likely_text = (
            options.logprob_threshold is not None and window.avg_logprob > options.logprob_threshold
        )
        return window.no_speech_prob > options.no_speech_threshold and not is_likely_text

    def _choose_best(self, attempts: Sequence[DecodedWindow]) -> DecodedWindow:
        """Return the likeliest of the texts that do not repeat themselves, or else of all.

        openai/whisper returns the last one: at temperature 1 a mixture of scripts. This is
        faster-whisper's choice.
        """
        sound = [one for one in attempts if not self.is_repetitive(one)]
        return max(sound or attempts, key=lambda one: one.avg_logprob)

    def is_repetitive(self, window: DecodedWindow) -> bool:
        """Return whether the text repeats itself, as no speaker does."""
        threshold = self._options.compression_ratio_threshold
        text = [token for token in window.tokens if token < self._tokenizer.timestamp_begin]
        return threshold is not None and (
            window.compression_ratio > threshold or ends_in_loop(text)
        )

    def _trust(self, window: DecodedWindow) -> tuple[bool, bool, bool, float]:
        """Return what orders the texts of one window: not silence, not void, sound, likely.

        A loop is no sound text, however likely: German read as Russian loops at -0.14. Right texts
        of real clips have -0.12 to -0.6, those in a wrong language 0.05 to 1 less.
        """
        has_text = any(token < self._tokenizer.eot for token in window.tokens)
        is_sound = not self._needs_fallback(window)
        return not self.is_silence(window), has_text, is_sound, window.avg_logprob

    def _needs_fallback(self, window: DecodedWindow) -> bool:
        options = self._options
        is_repetitive = self.is_repetitive(window)
        is_unlikely = (
            options.logprob_threshold is not None and window.avg_logprob < options.logprob_threshold
        )
        is_silent = (
            options.no_speech_threshold is not None
            and window.no_speech_prob > options.no_speech_threshold
        )
        return (is_repetitive or is_unlikely) and not (is_silent and is_unlikely)

    def _decode_at(
        self, temperature: float, windows: Sequence[PromptedWindow], rng: np.random.Generator
    ) -> list[DecodedWindow]:
        tokenizer = self._tokenizer
        prompts = Prompts(
            tokens=np.array([window.prompt for window in windows]),
            sot_index=windows[0].prompt.index(tokenizer.sot),
            no_speech=tokenizer.no_speech,
        )
        encoded = [window.encoded for window in windows]
        policy = self._make_policy(temperature, rng)
        groups, no_speech_probs = search(
            self._decoder, encoded, prompts, policy, self._rules, self._before_step
        )
        decoded = []
        for window, candidates, no_speech_prob in zip(
            windows, groups, no_speech_probs, strict=True
        ):
            best = choose_likeliest(candidates, self._options.length_penalty)
            # The ratio includes the names of special tokens but no timestamps, as openai/whisper's.
            text = tokenizer.decode_with_timestamps(
                [token for token in best.tokens if token < tokenizer.timestamp_begin]
            )
            decoded.append(
                DecodedWindow(
                    language=window.language,
                    tokens=best.tokens,
                    temperature=temperature,
                    avg_logprob=best.avg_logprob,
                    compression_ratio=compression_ratio(text),
                    no_speech_prob=float(no_speech_prob),
                    logprobs=tuple(map(float, best.logprobs)),
                )
            )
        return decoded

    def _make_policy(self, temperature: float, rng: np.random.Generator) -> Policy:
        options, eot = self._options, self._tokenizer.eot
        if temperature > 0:
            return SamplingPolicy(eot, temperature, options.best_of or 1, rng)
        if options.beam_size is not None:
            return BeamPolicy(eot, options.beam_size, options.patience or 1.0)
        return SamplingPolicy(eot, 0.0, 1, rng)


def ends_in_loop(text_tokens: Sequence[int]) -> bool:
    """Return whether the last 32 tokens of the text repeat a unit of at most 8.

    The compression ratio, the only criterion of openai/whisper, misses a loop after much good
    text: 120 words and then "of the" 20 times have a ratio below 2.
    """
    tail = list(text_tokens[-32:])
    return len(tail) == 32 and any(tail[n:] == tail[:-n] for n in range(1, 9))


def compression_ratio(text: str) -> float:
    """Return how well `text` compresses; above 2.4 it is most likely a loop (openai/whisper)."""
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data))
