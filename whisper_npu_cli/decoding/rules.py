"""Token rules, which mask or scale the logits of tokens that must not come next.

Three rules are openai/whisper's (`decoding.py`: SuppressBlank, SuppressTokens,
ApplyTimestampRules), two are CTranslate2's. Rules know token ids, never text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.dims import TOKENS_PER_SECOND
from whisper_npu_cli.engines.numba_decoder.logits import prefer_timestamps
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.options import DecodingOptions


class Rule(Protocol):
    """Change logits in place; those of forbidden tokens become minus infinity."""

    def apply(self, logits: NDArray[np.float32], sampled: Sequence[Sequence[int]]) -> None:
        """Change `logits` (n_rows, n_vocab), given the tokens that each row has sampled so far."""
        ...


@dataclass(frozen=True)
class SuppressBlank:
    """Forbid a blank or the end of text as the first token."""

    blank_tokens: tuple[int, ...]

    def apply(self, logits: NDArray[np.float32], sampled: Sequence[Sequence[int]]) -> None:
        """Mask the blank tokens of rows that have not sampled anything."""
        for row, tokens in enumerate(sampled):
            if not tokens:
                logits[row, self.blank_tokens] = -np.inf


@dataclass(frozen=True)
class SuppressTokens:
    """Forbid some tokens always."""

    tokens: NDArray[np.int64]

    def apply(self, logits: NDArray[np.float32], sampled: Sequence[Sequence[int]]) -> None:
        """Mask the tokens in every row."""
        del sampled
        logits[:, self.tokens] = -np.inf


@dataclass(frozen=True)
class TimestampRules:
    """Keep timestamps in pairs and in order; force one where all are likelier than any text."""

    timestamp_begin: int
    eot: int
    no_timestamps: int
    max_initial_index: int | None  # in steps of 20 ms; None is no bound

    def apply(self, logits: NDArray[np.float32], sampled: Sequence[Sequence[int]]) -> None:
        """Mask each row as its own tokens require."""
        logits[:, self.no_timestamps] = -np.inf
        for row, tokens in zip(logits, sampled, strict=True):
            self._mask_by_history(row, tokens)
        prefer_timestamps(logits, self.timestamp_begin)

    def _mask_by_history(self, row: NDArray[np.float32], tokens: Sequence[int]) -> None:
        begin = self.timestamp_begin
        if not tokens:
            row[:begin] = -np.inf
            if self.max_initial_index is not None:
                row[begin + self.max_initial_index + 1 :] = -np.inf
            return
        last_is_timestamp = tokens[-1] >= begin
        is_pair = len(tokens) < 2 or tokens[-2] >= begin
        if last_is_timestamp and is_pair:
            row[begin:] = -np.inf  # text must follow a start timestamp
        elif last_is_timestamp:
            row[: self.eot] = -np.inf  # a start timestamp or the end must follow an end timestamp
        last = max((token for token in tokens if token >= begin), default=None)
        if last is not None:
            # A segment may start where the last one ended, but must not end where it started.
            starts_segment = last_is_timestamp and not is_pair
            row[begin : last if starts_segment else last + 1] = -np.inf


@dataclass(frozen=True)
class RepetitionPenalty:
    """Make sampled tokens less likely; positive logits are divided, negative ones multiplied.

    Keskar et al. 2019, "CTRL", section 4.1, as CTranslate2 and faster-whisper apply it.
    """

    penalty: float

    def apply(self, logits: NDArray[np.float32], sampled: Sequence[Sequence[int]]) -> None:
        """Scale the logit of each token that a row has sampled, once."""
        factor = np.float32(self.penalty)
        for row, tokens in zip(logits, sampled, strict=True):
            ids = list(set(tokens))
            row[ids] = np.where(row[ids] < 0, row[ids] * factor, row[ids] / factor)


@dataclass(frozen=True)
class NoRepeatNgram:
    """Forbid the token that would complete an n-gram that the row has sampled (CTranslate2)."""

    size: int

    def apply(self, logits: NDArray[np.float32], sampled: Sequence[Sequence[int]]) -> None:
        """Mask the tokens that followed earlier occurrences of the last `size` - 1 tokens."""
        n_before = self.size - 1
        for row, tokens in zip(logits, sampled, strict=True):
            last = list(tokens[len(tokens) - n_before :])
            for start in range(len(tokens) - n_before):
                if list(tokens[start : start + n_before]) == last:
                    row[tokens[start + n_before]] = -np.inf


def make_token_rules(tokenizer: Tokenizer, options: DecodingOptions) -> list[Rule]:
    """Return the rules of `options` in the order in which they apply."""
    rules: list[Rule] = []
    if options.repetition_penalty != 1:
        rules.append(RepetitionPenalty(options.repetition_penalty))
    if options.no_repeat_ngram_size:
        rules.append(NoRepeatNgram(options.no_repeat_ngram_size))
    if options.suppress_blank:
        rules.append(SuppressBlank((*tokenizer.encode(" "), tokenizer.eot)))
    if options.suppress_tokens:
        ids = _read_suppressed(tokenizer, options.suppress_tokens)
        rules.append(SuppressTokens(np.array(ids)))
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


def _read_suppressed(tokenizer: Tokenizer, suppress_tokens: str) -> tuple[int, ...]:
    """Return the named ids and, as in openai/whisper, the ids of tokens that are no text."""
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
