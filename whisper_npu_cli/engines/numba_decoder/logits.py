"""Compiled passes over a step's logits, with the rows in parallel.

Logits in; log-probabilities in their place, and the likeliest tokens, out. In NumPy these passes
took 0.2 ms a row on one core, and arrays of the vocabulary's size: 15 % of a step of eight rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.engines.numba_decoder.code import PACKAGE, Kernel
from whisper_npu_cli.engines.numba_decoder.threads import list_kernels as list_for_threads
from whisper_npu_cli.engines.numba_decoder.threads import run_tasks
from whisper_npu_cli.options import EngineOptions

F32Array = NDArray[np.float32]

_LOG_SOFTMAX, _PREFER_TIMESTAMPS, _TOP_K = (
    Kernel(f"{PACKAGE}.passes:{name}_row") for name in ("log_softmax", "prefer_timestamps", "top_k")
)


def list_kernels(options: EngineOptions) -> list[Kernel]:
    """Return the kernels of a run with a decoder that has none."""
    del options
    return [_TOP_K, _LOG_SOFTMAX, _PREFER_TIMESTAMPS, *list_for_threads()]


def log_softmax(logits: F32Array) -> F32Array:
    """Replace the logits (n_rows, n) of each row by their log-probabilities; return them."""
    run_tasks(_LOG_SOFTMAX, len(logits), logits)
    return logits


def prefer_timestamps(logits: F32Array, begin: int) -> None:
    """Forbid the tokens before `begin` where the others together are likelier than any of them.

    Rows of (n_rows, n_vocab) are changed in place. The denominator of the softmax is common to both
    sides, so logits are compared.
    """
    run_tasks(_PREFER_TIMESTAMPS, len(logits), logits, begin)


def top_k(logprobs: F32Array, k: int) -> tuple[NDArray[np.int64], F32Array]:
    """Return ids and values (n_rows, k) of the `k` largest of each row, largest first.

    Equal values are in the order of their ids. So where fewer than `k` tokens are allowed, the rest
    are tokens of text, which have the lowest ids, and never the end of text.
    """
    values = np.empty((len(logprobs), k), np.float32)
    tokens = np.empty((len(logprobs), k), np.int64)
    run_tasks(_TOP_K, len(logprobs), logprobs, values, tokens)
    return tokens, values
