"""Sampling, a policy of `search.py`: the likeliest token, or random ones at a temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.decoding.search import Candidate


@dataclass(frozen=True)
class SamplingPolicy:
    """Draw `group_size` independent samples of each window; at temperature 0 take the likeliest."""

    eot: int
    temperature: float
    group_size: int
    rng: np.random.Generator

    def start(self) -> SampledSearch:
        """Begin the search over one window."""
        return SampledSearch(self)

    def choose(self, logprobs: NDArray[np.float32]) -> NDArray[np.int64]:
        """Choose a token for each row of (n_rows, n_vocab)."""
        if self.temperature == 0:
            return np.array(logprobs.argmax(axis=1))
        weights = np.exp(logprobs / np.float32(self.temperature))
        cumulative = weights.cumsum(axis=1, dtype=np.float64)
        points = self.rng.random(len(logprobs)) * cumulative[:, -1]
        # A token of weight 0 ends where the token before it does; "right" never chooses it.
        chosen = [row.searchsorted(x, "right") for row, x in zip(cumulative, points, strict=True)]
        return np.array(chosen)


class SampledSearch:
    """The samples of one window, each of which ends by itself."""

    def __init__(self, policy: SamplingPolicy) -> None:
        self.rows = [Candidate()]
        self.done = False
        self._policy = policy
        self._samples = [Candidate()] * policy.group_size
        self._alive = list(range(policy.group_size))  # samples that have not ended

    def update(self, logprobs: NDArray[np.float32]) -> list[int]:
        """Choose a token for each sample not ended; return the rows of those that go on."""
        is_first = len(self.rows) < len(self._alive)  # one row stands for all samples
        sources = [0] * len(self._alive) if is_first else list(range(len(self._alive)))
        going_on = []
        tokens = self._policy.choose(logprobs[sources] if is_first else logprobs)
        for source, sample, token in zip(sources, list(self._alive), tokens, strict=True):
            before, logprob = self._samples[sample], logprobs[source, token]
            if token == self._policy.eot:
                self._samples[sample] = before.end(logprob)
                self._alive.remove(sample)
            else:
                self._samples[sample] = before.add(int(token), logprob)
                going_on.append(source)
        self.rows = [self._samples[sample] for sample in self._alive]
        self.done = not self.rows
        return going_on

    def finish(self) -> list[Candidate]:
        """Return all samples, also those cut off by the length limit."""
        return self._samples
