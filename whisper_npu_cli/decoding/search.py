"""Searching token sequences: encoded windows and prompts in, the likeliest sequence of each out.

This is the loop over tokens. What is chosen at each is a policy's business (`sampling.py`,
`beam.py`). Knows no text, no seconds and no files.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    sum_logprob: np.float32 = _ZERO  # fp32 as in openai/whisper: near ties fall alike

    @property
    def avg_logprob(self) -> float:
        """Mean log-probability, the end of text counted as a token (openai/whisper)."""
        return float(self.sum_logprob) / (len(self.tokens) + 1)


class WindowSearch(Protocol):
    """The search over one window. It begins with one row, which has sampled nothing."""

    rows: list[Candidate]  # alive, in the order of the session's rows
    done: bool

    def update(self, logprobs: NDArray[np.float32]) -> list[int]:
        """Choose the next tokens, given the log-probabilities (n_rows, n_vocab) of `rows`.

        Returns for each new row the index of the row that it continues.
        """
        ...

    def candidates(self) -> list[Candidate]:
        """Return the sequences to choose from, once the search is over."""
        ...


class Policy(Protocol):
    """How to search: a factory of searches."""

    @property
    def group_size(self) -> int:
        """Most rows of one window."""
        ...

    def start(self) -> WindowSearch:
        """Begin the search over one window."""
        ...


@dataclass(frozen=True)
class Prompts:
    """What the decoder is fed before it samples, and where it tells the chance of silence."""

    tokens: NDArray[np.int64]  # (n_windows, n_prompt)
    sot_index: int  # position of <|startoftranscript|>
    no_speech: int  # the token whose probability there is that of silence


def search(
    decoder: Decoder,
    windows: Sequence[CrossKV],
    prompts: Prompts,
    policy: Policy,
    rules: Sequence[Rule],
) -> tuple[list[list[Candidate]], NDArray[np.float32]]:
    """Decode `windows` together; return each one's candidates and its probability of silence.

    A row samples at most half of the text context, as in openai/whisper. A window that is done
    leaves the batch.
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
        for rule in rules:
            rule.apply(logits, [row.tokens for one in active for row in one.rows])
        sources = _update(active, log_softmax(logits))
        active = [one for one in active if not one.done]
        if not active or n_sampled == max_sampled:
            break
        if not np.array_equal(sources, np.arange(len(logits))):
            session.gather(sources)
        logits = session.step(np.array([row.tokens[-1] for one in active for row in one.rows]))
    return [one.candidates() for one in searches], no_speech_probs


def _update(
    active: Sequence[WindowSearch], logprobs: NDArray[np.float32]
) -> NDArray[np.int64]:  # the row that each row of a window not done continues
    starts = [0, *accumulate(len(one.rows) for one in active)]
    sources: list[int] = []
    for one, first, last in zip(active, starts, starts[1:], strict=False):
        continued = one.update(logprobs[first:last])
        if not one.done:
            sources.extend(first + row for row in continued)
    return np.array(sources, np.int64)


def likeliest(candidates: Sequence[Candidate], length_penalty: float | None) -> Candidate:
    """Return the candidate of the highest log-probability per token, the first of equal ones.

    With `length_penalty` alpha the divisor is ((5 + length) / 6) ** alpha instead of the length
    (Wu et al. 2016, "Google's Neural Machine Translation System", equation 14).
    """

    def score(candidate: Candidate) -> float:
        # openai/whisper divides by zero where nothing was sampled.
        length = max(len(candidate.tokens), 1)
        divisor = length if length_penalty is None else ((5 + length) / 6) ** length_penalty
        return float(candidate.sum_logprob) / divisor

    return max(candidates, key=score)
