"""Passes over a row of a step's logits.

Logits may be minus infinity (forbidden tokens), so the flags of `compiling.FAST`, which let the
compiler assume that no number is infinite, are not used here.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

from whisper_npu_cli.engines.numba_decoder.calls import load
from whisper_npu_cli.engines.numba_decoder.compiling import kernel
from whisper_npu_cli.engines.numba_decoder.kinds import F32, I64
from whisper_npu_cli.engines.numba_decoder.vectors import exp_negative, highest

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
