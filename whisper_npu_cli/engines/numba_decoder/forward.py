"""The compiled text decoder: token ids in, logits out.

One call does a whole step, because a return to Python for each of ~40 products would cost as much
as the products. All its threads run `_run_layers`, which reads like the decoder's definition: every
line is a phase that they do together (see `team.py`).
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from whisper_npu_cli.engines.numba_decoder.arrays import Rounded, Scratch, Weights
from whisper_npu_cli.engines.numba_decoder.compiling import serial
from whisper_npu_cli.engines.numba_decoder.kernels import (
    add_and_norm_row,
    cross_attend_head,
    embed_row,
    project_block,
    round_row,
    self_attend_head,
)
from whisper_npu_cli.engines.numba_decoder.team import N_THREADS, begin, make_phase

BLOCK_BYTES = 65_536  # one task reads at most so many weights; 32 KB took 1.05 times as long

_embed, _norm, _round = make_phase(embed_row), make_phase(add_and_norm_row), make_phase(round_row)
_self_attend, _cross_attend = make_phase(self_attend_head), make_phase(cross_attend_head)
_linear_blocks = make_phase(project_block)


@serial
def _linear(team, at, product, layer, x, out):  # type: ignore[no-untyped-def]
    """Set out (n_x, n_out) to the product of x, which is `Rounded`."""
    _, n_out, n_in = product.weight.shape
    n_block = min(BLOCK_BYTES // n_in, (n_out + team[N_THREADS] - 1) // team[N_THREADS])
    n_blocks = (n_out + n_block - 1) // n_block
    return _linear_blocks(team, at, n_blocks, n_block, product, layer, x, out)


@serial
def _run_layers(tokens, w, caches, buffers, rows, length, logits):  # type: ignore[no-untyped-def]
    """Run one thread of `forward`; `at` is the number of the next task."""
    n_x, n_head, team = tokens.size, caches.self_keys.shape[2], buffers.team
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
    at = _embed(team, np.int64(0), n_x, tokens, length, w, s)
    for i in range(w.fc1.weight.shape[0]):
        at = _norm(team, at, n_x, s, w.self_norm, i, w.self_qkv.limit[i])
        at = _self_attend(team, at, n_head, w.self_qkv, i, s, caches, rows, length)
        at = _round(team, at, n_x, s.attended, w.self_out.limit[i], x)
        at = _linear(team, at, w.self_out, i, x, s.branch)
        at = _norm(team, at, n_x, s, w.cross_norm, i, w.cross_q.limit[i])
        at = _cross_attend(team, at, n_head, w.cross_q, i, s, caches, rows)
        at = _round(team, at, n_x, s.attended, w.cross_out.limit[i], x)
        at = _linear(team, at, w.cross_out, i, x, s.branch)
        at = _norm(team, at, n_x, s, w.mlp_norm, i, w.fc1.limit[i])
        at = _linear(team, at, w.fc1, i, x, s.mlp)
        at = _round(team, at, n_x, s.mlp, w.fc2.limit[i], mlp)
        at = _linear(team, at, w.fc2, i, mlp, s.branch)
    at = _norm(team, at, n_x, s, w.final_norm, np.int64(0), w.vocabulary.limit[0])
    if logits.shape[0] > 0:
        _linear(team, at, w.vocabulary, np.int64(0), x, logits)


# Numba takes named tuples of arrays into a parallel loop, but no tuple of tuples such as `Weights`.
# Its dead-code pass drops stores to their arrays unless a called function makes them (0.68).


@njit(parallel=True)
def forward(  # type: ignore[no-untyped-def]
    n_threads,
    tokens,
    caches,
    scratch,
    rows,
    length,
    logits,
    vocabulary,
    columns,
    positions,
    self_norm,
    self_qkv,
    self_out,
    cross_norm,
    cross_q,
    cross_out,
    mlp_norm,
    fc1,
    fc2,
    final_norm,
):
    """Run tokens (n_rows, n_new) through all layers and append their keys and values.

    rows (2, n_rows) holds each row's slot and window, `length` the positions cached before; from
    `vocabulary` on, the fields of `Weights`. Sets scratch.normed[:n_x] to the last LayerNorm's
    result, and logits (n_x, n_vocab), or leaves them out where `logits` has no rows.
    """
    begin(scratch.team, n_threads)
    for _ in prange(n_threads):
        weights = Weights(
            vocabulary,
            columns,
            positions,
            self_norm,
            self_qkv,
            self_out,
            cross_norm,
            cross_q,
            cross_out,
            mlp_norm,
            fc1,
            fc2,
            final_norm,
        )
        _run_layers(tokens, weights, caches, scratch, rows, length, logits)


@serial
def _run_linear(team, product, x, rounded, out):  # type: ignore[no-untyped-def]
    at = _round(team, np.int64(0), x.shape[0], x, product.limit[0], rounded)
    _linear(team, at, product, np.int64(0), rounded, out)


@njit(parallel=True)
def linear(n_threads, team, product, x, rounded, out):  # type: ignore[no-untyped-def]
    """Set out (n_x, n_out) to the product of x (n_x, n_in), and `rounded` to x rounded."""
    begin(team, n_threads)
    for _ in prange(n_threads):
        _run_linear(team, product, x, rounded, out)
