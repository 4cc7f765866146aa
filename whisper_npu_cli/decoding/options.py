"""How to decode: every option that decides which tokens a window becomes, and its token rules."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.decoding.rules import (
    NoRepeatNgram,
    RepetitionPenalty,
    Rule,
    SuppressBlank,
    SuppressTokens,
    TimestampRules,
)
from whisper_npu_cli.dims import TOKENS_PER_SECOND
from whisper_npu_cli.errors import UsageError

MAX_BEAM_SIZE = 100  # each beam has caches of its own
MAX_TEMPERATURE = 1.0  # fallback raises the temperature up to here


@dataclass(frozen=True)
class DecodingOptions:
    """Names, defaults and meanings are those of openai-whisper's command line.

    `repetition_penalty`, `no_repeat_ngram_size` and `hotwords` are faster-whisper's. UsageError
    where values are out of range or contradict each other.
    """

    temperature: float = 0.0
    temperature_increment_on_fallback: float | None = 0.2  # None: no fallback
    beam_size: int | None = 5  # at temperature 0; None: greedy
    best_of: int | None = 5  # samples at higher temperatures
    patience: float | None = None  # as 1; beams * patience sequences must end
    length_penalty: float | None = None  # alpha, 0 to 1; None: divide by the length
    repetition_penalty: float = 1.0  # above 1: tokens said before become less likely
    no_repeat_ngram_size: int = 0  # 0: n-grams may repeat
    suppress_tokens: str = "-1"  # ids with commas; -1: non-speech; "": not even special tokens
    suppress_blank: bool = True
    without_timestamps: bool = False
    max_initial_timestamp: float | None = 1.0  # seconds; None or 0: no limit
    compression_ratio_threshold: float | None = 2.4
    logprob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    condition_on_previous_text: bool = True
    initial_prompt: str | None = None  # text before the first window
    carry_initial_prompt: bool = False  # before every window
    prefix: str | None = None  # how the text of the first window begins
    hotwords: str | None = None  # words to expect, before every window that has no prefix
    seed: int = 0  # of the samples at temperatures above 0

    def __post_init__(self) -> None:
        n_candidates = (self.beam_size or 1) * (1.0 if self.patience is None else self.patience)
        # The candidates are rounded, as in openai-whisper.
        for is_bad, problem in (
            (_below(self.temperature, 0), "the temperature must be a number from 0"),
            (_below(self.best_of, 1), "best-of must be at least 1"),
            (_below(self.beam_size, 1), "the beam size must be at least 1"),
            ((self.beam_size or 1) > MAX_BEAM_SIZE, f"at most {MAX_BEAM_SIZE} beams"),
            (self.patience is not None and self.beam_size is None, "patience needs a beam size"),
            (not 0.5 < n_candidates < inf, "beam size times patience must be at least 1"),
            (not 0 <= (self.length_penalty or 0) <= 1, "the length penalty must be from 0 to 1"),
            (not 0 < self.repetition_penalty < inf, "the repetition penalty must be positive"),
            (self.no_repeat_ngram_size < 0, "the n-gram size must not be negative"),
            (self.seed < 0, "the seed must not be negative"),
            (
                _below(self.max_initial_timestamp, 0),
                "the max initial timestamp must not be negative",
            ),
            (
                _below(self.temperature_increment_on_fallback, 1e-3),
                "the temperature increment must be at least 0.001",
            ),
        ):
            if is_bad:
                raise UsageError(problem)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """What is tried in turn until the text is good enough."""
        increment = self.temperature_increment_on_fallback
        if increment is None or self.temperature >= MAX_TEMPERATURE:
            return (self.temperature,)
        steps = np.arange(self.temperature, MAX_TEMPERATURE + 1e-6, increment)
        return tuple(float(step) for step in steps)


def _below(value: float | None, minimum: float) -> bool:
    """Whether a value that is given is less than `minimum`, infinite or no number."""
    return value is not None and not minimum <= value < inf


def token_rules(tokenizer: Tokenizer, options: DecodingOptions) -> list[Rule]:
    """Return the rules of `options` in the order in which they apply."""
    rules: list[Rule] = []
    if options.repetition_penalty != 1:
        rules.append(RepetitionPenalty(options.repetition_penalty))
    if options.no_repeat_ngram_size:
        rules.append(NoRepeatNgram(options.no_repeat_ngram_size))
    if options.suppress_blank:
        rules.append(SuppressBlank((*tokenizer.encode(" "), tokenizer.eot)))
    if options.suppress_tokens:
        rules.append(SuppressTokens(_suppressed(tokenizer, options.suppress_tokens)))
    if not options.without_timestamps:
        limit_s = options.max_initial_timestamp
        rules.append(
            TimestampRules(
                tokenizer.timestamp_begin,
                tokenizer.eot,
                tokenizer.no_timestamps,
                round(limit_s * TOKENS_PER_SECOND) if limit_s else None,
            )
        )
    return rules


def _suppressed(tokenizer: Tokenizer, suppress_tokens: str) -> tuple[int, ...]:
    """Return the ids to suppress: those named and, as in openai/whisper, what is no text."""
    try:
        named = {int(token) for token in suppress_tokens.split(",")}
    except ValueError as error:
        raise UsageError(
            f"cannot read token ids from {suppress_tokens!r}", hint='for example "-1" or "11,13"'
        ) from error
    if unknown := [id_ for id_ in named if not -1 <= id_ < tokenizer.n_vocab]:
        raise UsageError(
            f"cannot suppress token {unknown[0]}: the model has 0 to {tokenizer.n_vocab - 1}",
            hint="-1 stands for the symbols that are not speech",
        )
    if -1 in named:
        named = {id_ for id_ in named if id_ >= 0} | set(tokenizer.non_speech_tokens)
    control = {
        tokenizer.transcribe,
        tokenizer.translate,
        tokenizer.sot,
        tokenizer.sot_prev,
        tokenizer.sot_lm,
        tokenizer.no_speech,
    }
    return tuple(sorted(named | control))
