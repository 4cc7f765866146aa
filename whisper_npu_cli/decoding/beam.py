"""Beam search with patience, a policy of `search.py`.

It chooses bit for bit as openai/whisper's BeamSearchDecoder does. Patience is that of Kasai et al.
2022, "A Call for Clarity in Beam Search: How It Works and When It Stops".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.decoding.search import Candidate
from whisper_npu_cli.engines.numba_decoder.logits import top_k


@dataclass(frozen=True)
class BeamPolicy:
    """Keep the `beam_size` likeliest sequences until `beam_size * patience` have ended."""

    eot: int
    beam_size: int
    patience: float

    @property
    def group_size(self) -> int:
        """Number of rows of one window."""
        return self.beam_size

    @property
    def n_candidates(self) -> int:
        """Number of sequences that must end before the search does."""
        return round(self.beam_size * self.patience)

    def start(self) -> BeamSearch:
        """Begin the search over one window."""
        return BeamSearch(self)


class BeamSearch:
    """The beams of one window, likeliest first, and the sequences that have ended."""

    def __init__(self, policy: BeamPolicy) -> None:
        self.rows = [Candidate()]
        self.done = False
        self._policy = policy
        self._ended: list[Candidate] = []

    def update(self, logprobs: NDArray[np.float32]) -> list[int]:
        """Extend every beam by its likeliest tokens and keep the likeliest of all sequences."""
        # One token of each beam may be the end of text; `beam_size` others are left to continue.
        tokens, token_logprobs = top_k(logprobs, self._policy.beam_size + 1)
        totals = np.array([[row.sum_logprob] for row in self.rows]) + token_logprobs
        beams: list[Candidate] = []
        sources: list[int] = []
        for index in np.argsort(-totals, axis=None, kind="stable"):
            source, rank = divmod(int(index), totals.shape[1])
            before, token = self.rows[source], int(tokens[source, rank])
            logprob = token_logprobs[source, rank]
            if token == self._policy.eot:
                self._end(before.end(logprob))
                continue
            beams.append(before.add(token, logprob))
            sources.append(source)
            if len(beams) == self._policy.beam_size:
                break
        self.rows = beams
        self.done = len(self._ended) >= self._policy.n_candidates
        return sources

    def _end(self, candidate: Candidate) -> None:
        if len(self._ended) < self._policy.n_candidates:
            self._ended.append(candidate)

    def finish(self) -> list[Candidate]:
        """Return the ended sequences, and the likeliest unended ones up to `beam_size` in all."""
        n_missing = max(0, self._policy.beam_size - len(self._ended))
        # The last of equal beams comes first, as in openai/whisper's reversed sort.
        unended = sorted(self.rows, key=lambda beam: beam.sum_logprob)[::-1]
        return self._ended + unended[:n_missing]
