"""Word times: cross-attention in, the words of a window with their times out.

A few heads of the decoder look at the sound of the token that they predict. Their weights are
turned into a cost of (token, position). The cheapest monotonic path through it, found by dynamic
time warping, tells where each token begins. Algorithm and constants: openai/whisper `timing.py`.
Times are seconds within the window. This module knows nothing of segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.dims import FRAMES_PER_SECOND, TOKENS_PER_SECOND
from whisper_npu_cli.engines.base import CrossKV, Decoder
from whisper_npu_cli.engines.numba_decoder.warping import NEXT_COLUMN, NEXT_ROW, find_steps

Array = NDArray[np.float32]

MEDIAN_WIDTH = 7  # positions: 140 ms
FRAMES_PER_POSITION = FRAMES_PER_SECOND // TOKENS_PER_SECOND  # 2


@dataclass(frozen=True)
class Spoken:
    """The text tokens of a window, without timestamps, and the language (a code) they are in."""

    tokens: Sequence[int]
    language: str
    task: str
    n_frames: int  # content of the window, without its padding


@dataclass(frozen=True)
class TimedWord:
    """A word with its tokens, in seconds within its window.

    `probability` is the mean over the tokens, `attended` the latest place that one of them looks at
    most.
    """

    word: str
    tokens: tuple[int, ...]
    start: float
    end: float
    probability: float
    attended: float = 0.0

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return self.end - self.start


def align_words(
    decoder: Decoder, window: CrossKV, tokenizer: Tokenizer, spoken: Spoken
) -> list[TimedWord]:
    """Return the words of `spoken` in order, with their times in `window`."""
    n_positions = spoken.n_frames // FRAMES_PER_POSITION
    if not spoken.tokens or not n_positions:
        return []
    sot = tokenizer.sot_sequence(spoken.language, spoken.task)
    fed = np.array([*sot, tokenizer.no_timestamps, *spoken.tokens, tokenizer.eot])
    logits, weights = decoder.align(window, fed)
    # Row i - 1 predicts the token at index i of `fed`, and tells its time.
    logits, cost = logits[len(sot) : -2], compute_cost(weights[..., :n_positions])
    probabilities = compute_probabilities(logits[:, : tokenizer.eot], spoken.tokens)
    starts = find_token_starts(cost[len(sot) : -1]) / TOKENS_PER_SECOND
    attended = cost[len(sot) : -1].argmin(axis=1) / TOKENS_PER_SECOND
    words, word_tokens = tokenizer.split_to_word_tokens(
        [*spoken.tokens, tokenizer.eot], spoken.language
    )
    bounds = [0, *accumulate(len(tokens) for tokens in word_tokens[:-1])]
    return [
        TimedWord(
            word=word,
            tokens=tuple(tokens),
            start=float(starts[first]),
            end=float(starts[stop]),
            probability=float(np.mean(probabilities[first:stop], dtype=np.float64)),
            attended=float(attended[first:stop].max()),
        )
        for word, tokens, (first, stop) in zip(
            words[:-1], word_tokens[:-1], pairwise(bounds), strict=True
        )
    ]


def compute_probabilities(logits: Array, tokens: Sequence[int]) -> Array:
    """Return the probability (n,) of each of `tokens` (n,), given logits (n, n_text_vocab)."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    chosen: Array = exponentials[np.arange(len(tokens)), list(tokens)] / exponentials.sum(axis=1)
    return chosen


def compute_cost(weights: Array) -> Array:
    """Return the cost (n_tokens, n_positions) of weights (n_heads, n_tokens, n_positions).

    The attention weights are scaled to sum to 1 over the content, which is the softmax over it.
    They are standardised over the tokens, because some positions attract every token. Then come
    a median along time and the mean over heads.
    """
    weights = weights / weights.sum(axis=-1, keepdims=True)
    deviation = weights.std(axis=1, keepdims=True)
    # Tokens that all look alike tell nothing; openai/whisper divides by zero there.
    deviation = np.maximum(deviation, np.finfo(np.float32).tiny)
    standardised = (weights - weights.mean(axis=1, keepdims=True)) / deviation
    cost: Array = -median_filter(standardised, MEDIAN_WIDTH).mean(axis=0)
    return cost


def median_filter(x: Array, width: int) -> Array:
    """Return the running median over the last axis, mirrored at its ends; `width` is odd.

    An axis too short to be mirrored is left as it is.
    """
    margin = width // 2
    if x.shape[-1] <= margin:
        return x
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(margin, margin)], mode="reflect")
    neighbours = sliding_window_view(padded, width, axis=-1)
    # It goes row by row: the neighbours of all rows of a big model's heads would take 100 MB.
    filtered = np.empty_like(x)
    for index in np.ndindex(x.shape[:-1]):
        filtered[index] = np.partition(neighbours[index], margin, axis=-1)[:, margin]
    return filtered


def find_token_starts(cost: Array) -> NDArray[np.int64]:
    """Return the first column (n_rows,) of each row on the cheapest path through `cost`."""
    rows, columns = warp(cost)
    starts: NDArray[np.int64] = columns[np.diff(rows, prepend=-1) > 0]
    return starts


def warp(cost: Array) -> NDArray[np.int64]:
    """Return the cheapest path (2, n) from the first to the last cell of cost (n_rows, n_columns).

    A step goes to the next row, the next column or both (dynamic time warping).
    """
    return _trace_back(find_steps(cost))


def _trace_back(steps: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return the path (2, n) that ends in the last cell of `steps`."""
    i, j = steps.shape[0] - 1, steps.shape[1] - 1
    path = []
    while i > 0 or j > 0:
        path.append((i - 1, j - 1))
        step = steps[i, j]
        i -= step != NEXT_COLUMN
        j -= step != NEXT_ROW
    return np.array(path[::-1]).T
