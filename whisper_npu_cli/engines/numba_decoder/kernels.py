"""The arithmetic of the compiled text decoder, over int8 weights and cached keys.

A function does one task of a step on one thread; `forward.py` gives the tasks and their order.
At batch 1 a step reads every weight once and does two operations with each, so memory is the
limit and the form of these kernels follows from it: weights and cross-attention keys and values
are int8; rows (windows, beams, prompt positions) are folded into one axis, so that a weight is
read once for all of them; nothing is allocated.

Products with int8 are integer products: activations are rounded to 16 bits first, a row at a
time. With weights widened to fp32 instead, a core read 14 GB/s of them at batch 1, less than it
can, and did 38 G multiply-adds a second at batch 8; with integers it reads 45 GB/s and does 55 to
63 G (Zen 3, AVX2). The 16 bits are off by 2e-5 of the largest activation, the int8 weights by 4e-3
of the largest weight.

All shapes are run-time values, so the code is compiled once and serves every model. Loops run
over slices from 0: numba does not vectorise where it cannot rule out a negative index.
Knows nothing of checkpoints, windows or which token to choose.

Axes: n_x = n_rows * n_new activations, row-major; n_new is 1 in a step, more in a prefill.
"""

from __future__ import annotations

import numpy as np
from numba import types

from whisper_npu_cli.engines.numba_decoder.arrays import Rounded
from whisper_npu_cli.engines.numba_decoder.calls import load, view_array
from whisper_npu_cli.engines.numba_decoder.compiling import inlined, kernel, serial
from whisper_npu_cli.engines.numba_decoder.kinds import (
    CACHES,
    F32,
    I64,
    LINEAR,
    NORM,
    ROUNDED,
    SHARED,
)
from whisper_npu_cli.engines.numba_decoder.packing import LANES, MAX_CODE, MAX_SUM
from whisper_npu_cli.engines.numba_decoder.products import multiply, round_row
from whisper_npu_cli.engines.numba_decoder.vectors import exp_negative, gelu, highest

LAYER_NORM_EPSILON = np.float32(1e-5)  # as in openai/whisper


@serial
def project(product, layer, first, last, x, out):  # type: ignore[no-untyped-def]
    """Set out[:, first:last] to those outputs of a `Linear` of x, which is `Rounded`.

    `first` is a multiple of LANES, `last` too, or the number of all outputs.
    """
    scale, bias = product.scale[layer, first:last], product.bias[layer, first:last]
    multiply(product.weight[layer], first // LANES, (last + LANES - 1) // LANES, x.codes, out)
    for j in range(out.shape[0]):
        row = out[j, first:last]
        for i in range(row.size):
            row[i] = row[i] * (scale[i] * x.scale[j]) + bias[i]


@serial
def softmax(scores):  # type: ignore[no-untyped-def]
    """Turn scores (n,) into weights that sum to 1."""
    peak, total = highest(scores), np.float32(0)
    for t in range(scores.size):
        scores[t] = exp_negative(scores[t] - peak)
        total += scores[t]
    for t in range(scores.size):
        scores[t] *= np.float32(1) / total


@kernel(SHARED, NORM, types.int64, types.float32)
def add_and_norm_row(j, arguments):  # type: ignore[no-untyped-def]
    """Add row j of s.branch to the residual stream, normalise the sum, and round it to s.codes."""
    shared, norm, layer, limit = load(arguments)
    s = load(shared)
    x, branch, normed = s.x[j], s.branch[j], s.normed[j]
    n_state = x.size
    gain, bias = norm.gain[layer], norm.bias[layer]
    total = np.float32(0)
    for k in range(n_state):
        x[k] += branch[k]
        total += x[k]
    mean = total / np.float32(n_state)
    squares = np.float32(0)
    for k in range(n_state):
        squares += (x[k] - mean) * (x[k] - mean)
    inverse = np.float32(1) / np.sqrt(squares / np.float32(n_state) + LAYER_NORM_EPSILON)
    for k in range(n_state):
        normed[k] = (x[k] - mean) * inverse * gain[k] + bias[k]
    round_row(j, s.normed, limit, Rounded(s.codes, s.code_scale))


@serial
def attend_f32(query, keys, values, slots, scores):  # type: ignore[no-untyped-def]
    """Replace query (head_size,) by the values that it attends to.

    The key and the value of position t < slots.size are at [slots[t], t] of keys and values
    (n_slots, >= n, head_size). Leaves the attention weights in scores (n,).
    """
    for t in range(slots.size):
        key, total = keys[slots[t], t], np.float32(0)
        for d in range(query.size):
            total += query[d] * key[d]
        scores[t] = total
    softmax(scores)
    query[:] = np.float32(0)
    for t in range(slots.size):
        value, weight = values[slots[t], t], scores[t]
        for d in range(query.size):
            query[d] += weight * value[d]


@serial
def weigh_and_round(j, scores, n_keys, scale, limit, rounded):  # type: ignore[no-untyped-def]
    """Turn scores[j] * scale into attention weights, up to a factor, there and in `rounded`.

    The largest weight is 1, so it needs no pass to find it, and the sum goes into the row's scale.
    """
    row, codes = scores[j, :n_keys], rounded.codes[j]
    peak, total = highest(row), np.float32(0)
    for t in range(n_keys):
        row[t] = exp_negative((row[t] - peak) * scale)
        total += row[t]
        codes[t] = np.int16(np.rint(row[t] * limit))
    for t in range(n_keys, codes.size):
        codes[t] = np.int16(0)
    rounded.scale[j] = np.float32(1) / (total * limit)


@inlined
def attend_int8(queries, window, caches, layer, head, scores, rounded):  # type: ignore[no-untyped-def]
    """Replace queries (n_q, head_size) by the values of a window that they attend to.

    `window` has the addresses of `Caches.cross`. Leaves the attention weights, up to a factor, in
    scores (n_q, n_padded).
    """
    n_q, head_size = queries.shape
    n_layer, n_head, _, _, _ = caches.self_keys.shape
    n_padded = caches.n_padded
    key_shape = n_layer, n_head, n_padded // LANES, head_size // 2, 2 * LANES
    value_shape = n_layer, n_head, head_size // LANES, n_padded // 2, 2 * LANES
    for j in range(n_q):
        round_row(j, queries, np.float32(MAX_CODE), rounded)
    keys = view_array(window[0], key_shape, np.int8)[layer, head]
    multiply(keys, np.int64(0), keys.shape[0], rounded.codes, scores)
    limit = np.float32(min(MAX_CODE, MAX_SUM // (127 * n_padded)))
    for j in range(n_q):
        weigh_and_round(j, scores, caches.n_audio_ctx, rounded.scale[j], limit, rounded)
    values = view_array(window[1], value_shape, np.int8)[layer, head]
    multiply(values, np.int64(0), values.shape[0], rounded.codes, queries)
    for j in range(n_q):
        for d in range(head_size):
            queries[j, d] *= rounded.scale[j]


@inlined
def attend_window_f32(queries, window, caches, layer, head, scores, rounded):  # type: ignore  # noqa: ARG001
    """Do as `attend_int8`, with f32 keys and values."""
    n_layer, n_head, _, _, head_size = caches.self_keys.shape
    n_keys = caches.n_audio_ctx
    shape = n_layer, n_head, 1, n_keys, head_size
    keys = view_array(window[0], shape, np.float32)[layer, head]
    values = view_array(window[1], shape, np.float32)[layer, head]
    for j in range(queries.shape[0]):
        attend_f32(queries[j], keys, values, caches.one_slot, scores[j, :n_keys])


@kernel(ROUNDED, F32[2], types.float32)
def round_one_row(j, arguments):  # type: ignore[no-untyped-def]
    """Round row j of x (n_x, n) f32: `round_row` as a task."""
    rounded, x, limit = load(arguments)
    round_row(j, x, limit, rounded)


@kernel(types.int64, LINEAR, types.int64, ROUNDED, F32[2])
def project_block(block, arguments):  # type: ignore[no-untyped-def]
    """Compute `n_block` outputs of a `Linear` of x, which is `Rounded`, with GELU where it asks."""
    n_block, product, layer, x, out = load(arguments)
    first = block * n_block
    last = min(product.scale.shape[1], first + n_block)
    project(product, layer, first, last, x, out)
    if product.with_gelu:
        for j in range(out.shape[0]):
            row = out[j, first:last]
            for i in range(row.size):
                row[i] = gelu(row[i])


@kernel(SHARED, LINEAR, types.int64, CACHES, I64[2], types.int64)
def self_attend_head(head, arguments):  # type: ignore[no-untyped-def]
    """Compute one head of self-attention, from its rows of the QKV weights to s.attended."""
    shared, qkv, layer, caches, slots, length = load(arguments)
    s = load(shared)
    n_head, head_size = caches.self_keys.shape[1], caches.self_keys.shape[4]
    n_rows, n_x, n_state = slots.shape[0], s.normed.shape[0], n_head * head_size
    n_new = n_x // n_rows
    start = head * head_size
    for first in range(start, 3 * n_state, n_state):
        project(qkv, layer, first, first + head_size, Rounded(s.codes, s.code_scale), s.qkv)
    keys, values = caches.self_keys[layer, head], caches.self_values[layer, head]
    for j in range(n_x):
        row, t = j // n_new, length + j % n_new
        slot = slots[row, t]
        query, attended = s.qkv[j, start : start + head_size], s.attended[j, start:]
        for d in range(head_size):
            keys[slot, t, d] = s.qkv[j, n_state + start + d]
            values[slot, t, d] = s.qkv[j, 2 * n_state + start + d]
        attend_f32(query, keys, values, slots[row, : t + 1], s.scores[head, j, : t + 1])
        for d in range(head_size):
            attended[d] = query[d]


@inlined
def cross_attend_head(head, arguments, attend):  # type: ignore[no-untyped-def]
    """Compute one head of cross-attention, from its rows of the query weights to s.attended.

    `attend` is for the keys and values of these windows. Neighbouring rows of one window (beams)
    are queries of one product: its keys and values are read once.
    """
    shared, query, layer, caches, windows = load(arguments)
    s = load(shared)
    n_layer, n_head, _, _, head_size = caches.self_keys.shape
    n_rows = windows.size
    n_new = s.normed.shape[0] // n_rows
    start = head * head_size
    project(query, layer, start, start + head_size, Rounded(s.codes, s.code_scale), s.qkv)
    row = 0
    while row < n_rows:
        window, end = caches.cross[windows[row]], row + 1
        while end < n_rows and windows[end] == windows[row]:
            end += 1
        queries = s.queries[head, row * n_new : end * n_new]
        scores = s.scores[head, row * n_new : end * n_new]
        rounded = Rounded(s.head_codes[head], s.head_scale[head])
        key_scale, value_scale = (
            view_array(window[2], (n_layer, n_head, head_size), np.float32)[layer, head],
            view_array(window[3], (n_layer, n_head, head_size), np.float32)[layer, head],
        )
        for j in range(queries.shape[0]):
            q = s.qkv[row * n_new + j, start:]
            for d in range(head_size):
                queries[j, d] = q[d] * key_scale[d]
        attend(queries, window, caches, layer, head, scores, rounded)
        for j in range(queries.shape[0]):
            attended = s.attended[row * n_new + j, start:]
            for d in range(head_size):
                attended[d] = queries[j, d] * value_scale[d]
        if s.capture_index[layer, head] >= 0:
            kept = s.captured[s.capture_index[layer, head]]
            for j in range(queries.shape[0]):
                total = scores[j, : caches.n_audio_ctx].sum()
                for t in range(caches.n_audio_ctx):
                    kept[row * n_new + j, t] = scores[j, t] / total
        row = end


CROSS_ATTENTION = (SHARED, LINEAR, types.int64, CACHES, I64[1])


@kernel(*CROSS_ATTENTION)
def cross_attend_int8(head, arguments):  # type: ignore[no-untyped-def]
    """Compute one head of cross-attention over int8 keys and values."""
    cross_attend_head(head, arguments, attend_int8)


@kernel(*CROSS_ATTENTION)
def cross_attend_f32(head, arguments):  # type: ignore[no-untyped-def]
    """Compute one head of cross-attention over f32 keys and values."""
    cross_attend_head(head, arguments, attend_window_f32)


@kernel(I64[2], types.int64, LINEAR, F32[1], F32[2], SHARED)
def embed_row(j, arguments):  # type: ignore[no-untyped-def]
    """Begin the residual stream of a token at its position; `s.branch` adds nothing yet."""
    tokens, length, vocabulary, columns, positions, shared = load(arguments)
    s = load(shared)
    n_new = tokens.shape[1]
    token, position = tokens[j // n_new, j % n_new], length + j % n_new
    block, scale = vocabulary.weight[0, token // LANES], vocabulary.scale[0, token]
    for k in range(s.x.shape[1]):
        code = block[k // 2, 2 * (token % LANES) + k % 2]
        embedded = np.float32(code) * (scale * columns[k])
        s.x[j, k] = embedded + positions[position, k]
        s.branch[j, k] = np.float32(0)
