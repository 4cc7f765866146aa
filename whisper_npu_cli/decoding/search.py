"""The loop over tokens: encoded windows and prompts in, candidate sequences for each window out.

A policy (`sampling.py`, `beam.py`) chooses the tokens. This module knows no text, no seconds and
no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.decoding.rules import Rule
from whisper_npu_cli.engines.base import CrossKV, Decoder
from whisper_npu_cli.engines.numba_decoder.logits import log_softmax

_ZERO = np.float32(0)


@dataclass(frozen=True)
class Candidate:
    """Tokens sampled for one window, without the end of text."""

    tokens: tuple[int, ...] = ()
    sum_logprob: np.float32 = _ZERO  # fp32 as in openai/whisper, so that near ties fall alike
    logprobs: tuple[np.float32, ...] = ()  # of the tokens

    def add(self, token: int, logprob: np.float32) -> Candidate:
        """Return the candidate with one more token."""
        total = self.sum_logprob + logprob
        return Candidate((*self.tokens, token), total, (*self.logprobs, logprob))

    def end(self, logprob: np.float32) -> Candidate:
        """Return the candidate with the end of text, which is none of its tokens."""
        return Candidate(self.tokens, self.sum_logprob + logprob, self.logprobs)

    @property
    def avg_logprob(self) -> float:
        """Mean log-probability; the end of text counts as a token (openai/whisper)."""
        return float(self.sum_logprob) / (len(self.tokens) + 1)


class WindowSearch(Protocol):
    """The search over one window. It begins with one row, which has sampled nothing."""

    rows: list[Candidate]  # not ended, in the order of the session's rows
    done: bool

    def update(self, logprobs: NDArray[np.float32]) -> list[int]:
        """Choose the next tokens, given the log-probabilities (n_rows, n_vocab) of `rows`.

        Returns for each new row the index of the row that it continues.
        """
        ...

    def finish(self) -> list[Candidate]:
        """End the search; return the sequences to choose from."""
        ...


class Policy(Protocol):
    """A way to search; it makes a search for each window."""

    @property
    def group_size(self) -> int:
        """Largest number of rows of one window."""
        ...

    def start(self) -> WindowSearch:
        """Begin the search over one window."""
        ...


@dataclass(frozen=True)
class Prompts:
    """The tokens fed before sampling, and the place where the model tells how likely silence is."""

    tokens: NDArray[np.int64]  # (n_windows, n_prompt)
    sot_index: int  # position of <|startoftranscript|>
    no_speech: int  # its probability after <|startoftranscript|> is that of silence


def search(
    decoder: Decoder,
    windows: Sequence[CrossKV],
    prompts: Prompts,
    policy: Policy,
    rules: Sequence[Rule],
    before_step: Callable[[int], None] = lambda _: None,
) -> tuple[list[list[Candidate]], NDArray[np.float32]]:
    """Decode `windows` together; return each one's candidates and its probability of silence.

    A row samples at most half of the text context, as in openai/whisper. A window that is done
    leaves the batch. `before_step` is called with the number of windows before each token.
    """
    n_prompt, n_text_ctx = prompts.tokens.shape[1], decoder.dims.n_text_ctx
    max_sampled = min(n_text_ctx // 2, n_text_ctx + 1 - n_prompt)
    session = decoder.start(windows, max_rows=len(windows) * policy.group_size)
    prefilled = session.prefill(prompts.tokens, (prompts.sot_index, n_prompt - 1))
    at_sot, logits = (np.ascontiguousarray(prefilled[:, i]) for i in range(2))
    no_speech_probs = np.exp(log_softmax(at_sot)[:, prompts.no_speech])
    searches = [policy.start() for _ in windows]
    active = list(searches)

    for n_sampled in range(1, max_sampled + 1):
        before_step(len(windows))
        for rule in rules:
            rule.apply(logits, [row.tokens for one in active for row in one.rows])
        sources = _update(active, log_softmax(logits))
        active = [one for one in active if not one.done]
        if not active or n_sampled == max_sampled:
            break
        if not np.array_equal(sources, np.arange(len(logits))):
            session.gather(sources)
        logits = session.step(np.array([row.tokens[-1] for one in active for row in one.rows]))
    return [one.finish() for one in searches], no_speech_probs


def _update(active: Sequence[WindowSearch], logprobs: NDArray[np.float32]) -> NDArray[np.int64]:
    """Update each search; return for each row of those not done the row that it continues."""
    starts = [0, *accumulate(len(one.rows) for one in active)]
    sources: list[int] = []
    for one, first, last in zip(active, starts, starts[1:], strict=False):
        continued = one.update(logprobs[first:last])
        if not one.done:
            sources.extend(first + row for row in continued)
    return np.array(sources, np.int64)


def choose_likeliest(candidates: Sequence[Candidate], length_penalty: float | None) -> Candidate:
    """Return the candidate with the highest log-probability per token, the first of equal ones.

    With `length_penalty` alpha the divisor is ((5 + length) / 6) ** alpha instead of the length
    (Wu et al. 2016, "Google's Neural Machine Translation System", equation 14).
    """

    def score(candidate: Candidate) -> float:
        # Nothing may have been sampled; openai/whisper divides by zero there.
        length = max(len(candidate.tokens), 1)
        divisor = length if length_penalty is None else ((5 + length) / 6) ** length_penalty
        return float(candidate.sum_logprob) / divisor

    return max(candidates, key=score)
