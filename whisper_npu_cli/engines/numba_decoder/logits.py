"""Compiled passes over a step's logits, with the rows in parallel.

Logits in; log-probabilities in their place, and the likeliest tokens, out. In NumPy these passes
took 0.2 ms a row on one core, and arrays of the vocabulary's size: 15 % of a step of eight rows.
Logits may be minus infinity (forbidden tokens), so the flags of `kernels.py`, which let the
compiler assume that no number is infinite, are not used here.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from whisper_npu_cli.engines.numba_decoder.arrays import F32, I64
from whisper_npu_cli.engines.numba_decoder.calls import load, number_of, point_at
from whisper_npu_cli.engines.numba_decoder.compiling import Kernel, entry, kernel
from whisper_npu_cli.engines.numba_decoder.team import run_parallel
from whisper_npu_cli.engines.numba_decoder.vectors import exp_negative, highest
from whisper_npu_cli.options import EngineOptions

F32Array = NDArray[np.float32]

BLOCK = 64  # tokens looked at together; few blocks hold one of the likeliest

_flags = {"reassoc", "contract", "arcp", "nsz"}
_serial = njit(fastmath=_flags, error_model="numpy")


@_serial
def log_sum_exp(x):  # type: ignore[no-untyped-def]
    """Return log(sum(exp(x))) of a row, minus infinity where all of x is."""
    peak = highest(x)
    if peak == -np.inf:
        return peak
    total = np.float32(0)
    for i in range(len(x)):
        total += exp_negative(x[i] - peak)
    return peak + np.log(total)


@kernel(F32[2], fastmath=_flags)
def log_softmax_row(row, arguments):  # type: ignore[no-untyped-def]
    """Replace the logits of a row by their log-probabilities."""
    (logits,) = load(arguments)
    total = log_sum_exp(logits[row])
    for i in range(logits.shape[1]):
        logits[row, i] -= total


@kernel(F32[2], types.int64, fastmath=_flags)
def prefer_timestamps_row(row, arguments):  # type: ignore[no-untyped-def]
    """Do for a row what `prefer_timestamps` does."""
    logits, begin = load(arguments)
    if log_sum_exp(logits[row, begin:]) > highest(logits[row, :begin]):
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
        if highest(block) > values[k - 1]:
            for i in range(len(block)):
                if block[i] > values[k - 1]:
                    insert(block[i], first + i, values, tokens)


@kernel(F32[2], F32[2], I64[2], fastmath=_flags)
def top_k_row(row, arguments):  # type: ignore[no-untyped-def]
    """Do for a row what `top_k` does."""
    logprobs, values, tokens = load(arguments)
    rank_row(logprobs[row], values[row], tokens[row])


@entry(types.int64, F32[2])
def _log_softmax(task, logits):  # type: ignore[no-untyped-def]
    run_parallel(logits.shape[0], task, number_of(point_at((logits,))))


@entry(types.int64, F32[2], types.int64)
def _prefer_timestamps(task, logits, begin):  # type: ignore[no-untyped-def]
    run_parallel(logits.shape[0], task, number_of(point_at((logits, begin))))


@entry(types.int64, F32[2], F32[2], I64[2])
def _top_k(task, logprobs, values, tokens):  # type: ignore[no-untyped-def]
    run_parallel(logprobs.shape[0], task, number_of(point_at((logprobs, values, tokens))))


def list_kernels(options: EngineOptions) -> list[Kernel]:
    """Return this module's kernels, which are those of a run with a decoder that has none."""
    del options
    rows = [top_k_row, log_softmax_row, prefer_timestamps_row]
    return [*rows, _log_softmax, _prefer_timestamps, _top_k]


def log_softmax(logits: F32Array) -> F32Array:
    """Replace the logits (n_rows, n) of each row by their log-probabilities; return them."""
    _log_softmax(log_softmax_row.address, logits)
    return logits


def prefer_timestamps(logits: F32Array, begin: int) -> None:
    """Forbid the tokens before `begin` where the others together are likelier than any of them.

    Rows of (n_rows, n_vocab) are changed in place. The denominator of the softmax is common to both
    sides, so logits are compared.
    """
    _prefer_timestamps(prefer_timestamps_row.address, logits, begin)


def top_k(logprobs: F32Array, k: int) -> tuple[NDArray[np.int64], F32Array]:
    """Return ids and values (n_rows, k) of the `k` largest of each row, largest first.

    Equal values are in the order of their ids. So where fewer than `k` tokens are allowed, the rest
    are tokens of text, which have the lowest ids, and never the end of text.
    """
    values = np.empty((len(logprobs), k), np.float32)
    tokens = np.empty((len(logprobs), k), np.int64)
    _top_k(top_k_row.address, logprobs, values, tokens)
    return tokens, values
