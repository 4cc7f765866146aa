"""Compiled passes over a step's logits, with the rows in parallel.

Logits in; log-probabilities in their place, and the likeliest tokens, out. In NumPy these passes
took 0.2 ms a row on one core, and arrays of the vocabulary's size: 15 % of a step of eight rows.
Logits may be minus infinity (forbidden tokens), so the flags of `kernels.py`, which let the
compiler assume that no number is infinite, are not used here.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from whisper_npu_cli.engines.numba_decoder.compiling import Notice, compile_once
from whisper_npu_cli.engines.numba_decoder.kernels import exp_negative

F32Array = NDArray[np.float32]

BLOCK = 64  # tokens looked at together; few blocks hold one of the likeliest

_flags = {"reassoc", "contract", "arcp", "nsz"}
_serial = njit(fastmath=_flags, error_model="numpy")
_parallel = njit(fastmath=_flags, error_model="numpy", parallel=True)


@_serial
def log_sum_exp(x):  # type: ignore[no-untyped-def]
    """Return log(sum(exp(x))) of a row, minus infinity where all of x is."""
    peak = x[0]
    for i in range(len(x)):
        peak = max(peak, x[i])
    if peak == -np.inf:
        return peak
    total = np.float32(0)
    for i in range(len(x)):
        total += exp_negative(x[i] - peak)
    return peak + np.log(total)


@_parallel
def _log_softmax(logits):  # type: ignore[no-untyped-def]
    for row in prange(logits.shape[0]):
        total = log_sum_exp(logits[row])
        for i in range(logits.shape[1]):
            logits[row, i] -= total


@_parallel
def _prefer_timestamps(logits, begin):  # type: ignore[no-untyped-def]
    for row in prange(logits.shape[0]):
        likeliest = logits[row, 0]
        for i in range(begin):
            likeliest = max(likeliest, logits[row, i])
        if log_sum_exp(logits[row, begin:]) > likeliest:
            for i in range(begin):
                logits[row, i] = -np.inf


@_serial
def insert(value, token, values, tokens):  # type: ignore[no-untyped-def]
    """Insert a token among the likeliest, after those that are as likely; drop the last."""
    place = len(values) - 1
    while place > 0 and value > values[place - 1]:
        values[place], tokens[place] = values[place - 1], tokens[place - 1]
        place -= 1
    values[place], tokens[place] = value, token


@_serial
def rank_row(row, values, tokens):  # type: ignore[no-untyped-def]
    """Fill values and tokens (k,) with the largest of `row`, largest first."""
    k = len(values)
    for i in range(k):
        values[i] = -np.inf
        insert(row[i], i, values[: i + 1], tokens[: i + 1])
    for first in range(k, len(row), BLOCK):
        block = row[first : first + BLOCK]
        peak = block[0]
        for i in range(len(block)):
            peak = max(peak, block[i])
        if peak > values[k - 1]:
            for i in range(len(block)):
                if block[i] > values[k - 1]:
                    insert(block[i], first + i, values, tokens)


@_parallel
def _top_k(logprobs, values, tokens):  # type: ignore[no-untyped-def]
    for row in prange(logprobs.shape[0]):
        rank_row(logprobs[row], values[row], tokens[row])


def compile_ranking(notice: Notice) -> None:
    """Compile this module's passes, or load them from disk; `notice` is called before compiling."""
    rows, tokens = np.empty((1, 1), np.float32), np.empty((1, 1), np.int64)
    compile_once(_log_softmax, (rows,), notice)
    compile_once(_prefer_timestamps, (rows, 0), notice)
    compile_once(_top_k, (rows, rows, tokens), notice)


def log_softmax(logits: F32Array) -> F32Array:
    """Replace the logits (n_rows, n) of each row by their log-probabilities; return them."""
    _log_softmax(logits)
    return logits


def prefer_timestamps(logits: F32Array, begin: int) -> None:
    """Forbid the tokens before `begin` where the others together are likelier than any of them.

    Rows of (n_rows, n_vocab) are changed in place. The denominator of the softmax is common to both
    sides, so logits are compared.
    """
    _prefer_timestamps(logits, begin)


def top_k(logprobs: F32Array, k: int) -> tuple[NDArray[np.int64], F32Array]:
    """Return ids and values (n_rows, k) of the `k` largest of each row, largest first.

    Equal values are in the order of their ids. So where fewer than `k` tokens are allowed, the rest
    are tokens of text, which have the lowest ids, and never the end of text.
    """
    values = np.empty((len(logprobs), k), np.float32)
    tokens = np.empty((len(logprobs), k), np.int64)
    _top_k(logprobs, values, tokens)
    return tokens, values
