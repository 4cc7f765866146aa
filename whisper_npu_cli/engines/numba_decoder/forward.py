"""The compiled text decoder: token ids in, logits out.

One call does a whole step, because a return to Python for each of ~40 products would cost as much
as the products. All threads run `run_layers`, which reads like the decoder's definition: every
line is a phase that they do together (see `team.py`).
"""

from __future__ import annotations

import numpy as np
from numba import types

from whisper_npu_cli.engines.numba_decoder.arrays import Rounded, Scratch
from whisper_npu_cli.engines.numba_decoder.calls import load, number_of, point_at
from whisper_npu_cli.engines.numba_decoder.compiling import kernel, serial
from whisper_npu_cli.engines.numba_decoder.kinds import (
    CACHES,
    F32,
    I64,
    LINEAR,
    ROUNDED,
    SCRATCH,
    TASKS,
    WEIGHTS,
)
from whisper_npu_cli.engines.numba_decoder.packing import LANES
from whisper_npu_cli.engines.numba_decoder.team import phase
from whisper_npu_cli.engines.numba_decoder.threads import N_THREADS

BLOCK_BYTES = 65_536  # one task reads at most so many weights; 32 KB took 1.05 times as long


@serial
def _embed(team, at, n_x, t, tokens, length, w, shared):  # type: ignore[no-untyped-def]
    arguments = (tokens, length, w.vocabulary, w.columns, w.positions, shared)
    return phase(team, at, n_x, t.embed, number_of(point_at(arguments)))


@serial
def _norm(team, at, n_x, t, shared, norm, i, limit):  # type: ignore[no-untyped-def]
    return phase(team, at, n_x, t.norm, number_of(point_at((shared, norm, i, limit))))


@serial
def _round(team, at, n_x, t, x, limit, rounded):  # type: ignore[no-untyped-def]
    return phase(team, at, n_x, t.round, number_of(point_at((rounded, x, limit))))


@serial
def _linear(team, at, t, product, i, x, out):  # type: ignore[no-untyped-def]
    """Set out (n_x, n_out) to the product of x, which is `Rounded`."""
    n_out, n_in, n_threads = product.scale.shape[1], 2 * product.weight.shape[2], team[N_THREADS]
    n_blocks = product.weight.shape[1]
    share = min(BLOCK_BYTES // (LANES * n_in), (n_blocks + n_threads - 1) // n_threads)
    n_of_task = LANES * max(1, share)
    n_tasks = (n_out + n_of_task - 1) // n_of_task
    arguments = (n_of_task, product, i, x, out)
    return phase(team, at, n_tasks, t.project, number_of(point_at(arguments)))


STEP = (TASKS, I64[2], WEIGHTS, CACHES, SCRATCH, I64[1], I64[2], types.int64, F32[2])


@kernel(*STEP)
def run_layers(_member, arguments):  # type: ignore[no-untyped-def]
    """Run one thread of a pass through all layers; `at` is the number of the next task.

    Tokens (n_rows, n_new) have their keys and values appended. `windows` (n_rows,) has each row's
    window, `slots` (n_rows, >= length + n_new) the slot of each of its positions, `length` the
    number of positions cached before. Sets s.normed[:n_x] to the last LayerNorm's result, and
    logits (n_x, n_vocab), or leaves them out where `logits` has no rows.
    """
    t, tokens, w, caches, buffers, windows, slots, length, logits = load(arguments)
    n_x, n_head, team = tokens.size, caches.self_keys.shape[1], buffers.team
    s = Scratch(
        buffers.x[:n_x],
        buffers.branch[:n_x],
        buffers.normed[:n_x],
        buffers.qkv[:n_x],
        buffers.attended[:n_x],
        buffers.mlp[:n_x],
        buffers.codes[:n_x],
        buffers.mlp_codes[:n_x],
        buffers.code_scale,
        buffers.queries,
        buffers.scores,
        buffers.head_codes,
        buffers.head_scale,
        buffers.capture_index,
        buffers.captured,
        team,
    )
    x, mlp = Rounded(s.codes, s.code_scale), Rounded(s.mlp_codes, s.code_scale)
    shared = point_at(s)
    at = _embed(team, np.int64(0), n_x, t, tokens, length, w, shared)
    for i in range(w.fc1.weight.shape[0]):
        at = _norm(team, at, n_x, t, shared, w.self_norm, i, w.self_qkv.limit[i])
        own = point_at((shared, w.self_qkv, i, caches, slots, length))
        at = phase(team, at, n_head, t.self_attend, number_of(own))
        at = _round(team, at, n_x, t, s.attended, w.self_out.limit[i], x)
        at = _linear(team, at, t, w.self_out, i, x, s.branch)
        at = _norm(team, at, n_x, t, shared, w.cross_norm, i, w.cross_q.limit[i])
        cross = point_at((shared, w.cross_q, i, caches, windows))
        at = phase(team, at, n_head, t.cross_attend, number_of(cross))
        at = _round(team, at, n_x, t, s.attended, w.cross_out.limit[i], x)
        at = _linear(team, at, t, w.cross_out, i, x, s.branch)
        at = _norm(team, at, n_x, t, shared, w.mlp_norm, i, w.fc1.limit[i])
        at = _linear(team, at, t, w.fc1, i, x, s.mlp)
        at = _round(team, at, n_x, t, s.mlp, w.fc2.limit[i], mlp)
        at = _linear(team, at, t, w.fc2, i, mlp, s.branch)
    at = _norm(team, at, n_x, t, shared, w.final_norm, np.int64(0), w.vocabulary.limit[0])
    if logits.shape[0] > 0:
        _linear(team, at, t, w.vocabulary, np.int64(0), x, logits)


PRODUCT = (TASKS, I64[1], LINEAR, F32[2], ROUNDED, F32[2])


@kernel(*PRODUCT)
def run_product(_member, arguments):  # type: ignore[no-untyped-def]
    """Run one thread of a product: set out (n_x, n_out) to that of x (n_x, n_in).

    Sets `rounded` to x rounded.
    """
    t, team, product, x, rounded, out = load(arguments)
    at = _round(team, np.int64(0), x.shape[0], t, x, product.limit[0], rounded)
    _linear(team, at, t, product, np.int64(0), rounded, out)
