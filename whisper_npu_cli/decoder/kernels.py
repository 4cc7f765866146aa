"""The compiled text decoder: token ids in, logits out, over int8 weights and cached keys.

At batch 1 a step reads every weight once and does two operations with each, so memory is the
limit and the form of these kernels follows from it: weights and cross-attention keys and values
are int8 and are widened to fp32 in registers; one compiled call does a whole step, because a
return to Python for each of ~40 products would cost as much as the products; rows (windows,
beams, prompt positions) are folded into one axis, so that a weight is read once for all of them.

Plain numba without intrinsics: LLVM vectorises the inner loops for AVX2, AVX-512 and NEON alike.
All shapes are run-time values, so the code is compiled once and serves every model. The kernels
share one file because numba's disk cache only notices changes of the file that it compiled.
Knows nothing of checkpoints, windows or which token to choose.

Axes: n_x = n_rows * n_new activations, row-major; n_new is 1 in a step, more in a prefill.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

F32Array = NDArray[np.float32]
I8Array = NDArray[np.int8]

LAYER_NORM_EPSILON = np.float32(1e-5)  # as in openai/whisper
BLOCK_ROWS = 32  # weight rows of one parallel task: 16 tasks for 512 outputs


class Linear(NamedTuple):
    """One product y = (weight . x) * scale + bias for all layers, int8 rows with a scale each."""

    weight: I8Array  # (n_layer, n_out, n_in)
    scale: F32Array  # (n_layer, n_out)
    bias: F32Array  # (n_layer, n_out)
    with_gelu: bool = False  # whether GELU follows; a field, as numba specialises on literals


class Norm(NamedTuple):
    """One LayerNorm for all layers."""

    gain: F32Array  # (n_layer, n_state)
    bias: F32Array  # (n_layer, n_state)


class Weights(NamedTuple):
    """All weights of a decoder; queries are already scaled by head_size ** -0.5."""

    vocabulary: Linear  # n_layer = 1; (n_vocab, n_state), also the token embedding
    positions: F32Array  # (n_text_ctx, n_state)
    self_norm: Norm
    self_qkv: Linear  # n_out = 3 * n_state: queries, keys, values
    self_out: Linear
    cross_norm: Norm
    cross_q: Linear
    cross_out: Linear
    mlp_norm: Norm
    fc1: Linear
    fc2: Linear
    final_norm: Norm  # n_layer = 1


class Caches(NamedTuple):
    """Cached keys and values, both (head_size, n_ctx): all inner loops run along positions.

    A slot holds one row's tokens. The scales of int8 keys and values are per channel: they fold
    into the query and into the result, so that the loops over positions read nothing but int8.
    """

    self_keys: F32Array  # (n_layer, n_slots, n_head, head_size, n_text_ctx)
    self_values: F32Array  # (n_layer, n_slots, n_head, head_size, n_text_ctx)
    cross_keys: NDArray[Any]  # (n_layer, n_windows, n_head, head_size, n_audio_ctx) int8 or f32
    cross_values: NDArray[Any]  # (n_layer, n_windows, n_head, head_size, n_audio_ctx)
    key_scale: F32Array  # (n_layer, n_windows, n_head, head_size)
    value_scale: F32Array  # (n_layer, n_windows, n_head, head_size)


class Scratch(NamedTuple):
    """Intermediate results, allocated once; n_x here is the most that one call may process."""

    x: F32Array  # (n_x, n_state), the residual stream
    branch: F32Array  # (n_x, n_state), what the last product adds to it
    normed: F32Array  # (n_x, n_state)
    qkv: F32Array  # (n_x, 3 * n_state)
    attended: F32Array  # (n_x, n_state)
    mlp: F32Array  # (n_x, 4 * n_state)
    queries: F32Array  # (n_head, n_x, head_size)
    scores: F32Array  # (n_head, n_x, max(n_audio_ctx, n_text_ctx))
    capture_index: NDArray[np.int64]  # (n_layer, n_head), where a head is kept; -1: nowhere
    captured: F32Array  # (n_captured, n_x, n_audio_ctx), cross-attention weights of those heads


# Reassociation lets LLVM split a sum into vector lanes; without it nothing here vectorises.
_serial = njit(fastmath=True, error_model="numpy")
_parallel = njit(fastmath=True, error_model="numpy", parallel=True)


@_serial
def dot_rows(rows, first, last, n, x, out):  # type: ignore[no-untyped-def]
    """Set out[j, i] = rows[i, :n] . x[j, :n] for first <= i < last; the one inner loop.

    Two rows by four activations: each widened weight is used four times, and eight sums hide
    the latency of the multiply-add in 16 vector registers. An odd last row is computed in a
    pair with its predecessor. `rows` (n_rows >= 2, >= n) int8 or f32, x (n_x, >= n) f32.
    """
    n_x = x.shape[0]
    for pair in range(first, last, 2):
        i = max(min(pair, last - 2), 0)
        j = 0
        while j + 4 <= n_x:
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.float32(0)
            for k in range(n):
                a, b = np.float32(rows[i, k]), np.float32(rows[i + 1, k])
                x0, x1, x2, x3 = x[j, k], x[j + 1, k], x[j + 2, k], x[j + 3, k]
                a0 += a * x0
                a1 += a * x1
                a2 += a * x2
                a3 += a * x3
                b0 += b * x0
                b1 += b * x1
                b2 += b * x2
                b3 += b * x3
            out[j, i], out[j + 1, i], out[j + 2, i], out[j + 3, i] = a0, a1, a2, a3
            out[j, i + 1], out[j + 1, i + 1], out[j + 2, i + 1], out[j + 3, i + 1] = b0, b1, b2, b3
            j += 4
        while j < n_x:
            a0 = b0 = np.float32(0)
            for k in range(n):
                a0 += np.float32(rows[i, k]) * x[j, k]
                b0 += np.float32(rows[i + 1, k]) * x[j, k]
            out[j, i], out[j, i + 1] = a0, b0
            j += 1


@_serial
def mix_rows(rows, n, x, out):  # type: ignore[no-untyped-def]
    """Set out[j, :n] = sum over i of x[j, i] * rows[i, :n], four rows at a time.

    The other direction of `dot_rows`, for scores: a dot product of 64 values per position would
    spend half its time on adding up vector lanes (7.9 us for 1500 positions, 4.2 so).
    `rows` (a multiple of 4, >= n) int8 or f32, x (n_x, n_rows) f32.
    """
    for j in range(x.shape[0]):
        for t in range(n):
            out[j, t] = np.float32(0)
        for i in range(0, rows.shape[0], 4):
            a, b, c, d = x[j, i], x[j, i + 1], x[j, i + 2], x[j, i + 3]
            for t in range(n):
                first = a * np.float32(rows[i, t]) + b * np.float32(rows[i + 1, t])
                second = c * np.float32(rows[i + 2, t]) + d * np.float32(rows[i + 3, t])
                out[j, t] += first + second


@_serial
def project(product, layer, first, last, x, out):  # type: ignore[no-untyped-def]
    """Set out[:, first:last] to those outputs of a `Linear` of x (n_x, n_in)."""
    weight, scale, bias = product.weight[layer], product.scale[layer], product.bias[layer]
    dot_rows(weight, first, last, weight.shape[1], x, out)
    for j in range(x.shape[0]):
        for i in range(first, last):
            out[j, i] = out[j, i] * scale[i] + bias[i]


@_serial
def gelu(x):  # type: ignore[no-untyped-def]
    """Return x * (1 + erf(x / sqrt(2))) / 2, with erf as a rational function that vectorises.

    Coefficients: Eigen's `erf` for fp32 (also XLA's), error below 4e-7 everywhere; libm's erf
    took 15 ns an element, 5 % of a step.
    """
    z = min(max(x * np.float32(0.7071067811865476), np.float32(-4)), np.float32(4))
    z2 = z * z
    p = np.float32(-2.72614225801306e-10)
    p = p * z2 + np.float32(2.77068142495902e-08)
    p = p * z2 + np.float32(-2.10102402082508e-06)
    p = p * z2 + np.float32(-5.69250639462346e-05)
    p = p * z2 + np.float32(-7.34990630326855e-04)
    p = p * z2 + np.float32(-2.95459980854025e-03)
    p = p * z2 + np.float32(-1.60960333262415e-02)
    q = np.float32(-1.45660718464996e-05)
    q = q * z2 + np.float32(-2.13374055278905e-04)
    q = q * z2 + np.float32(-1.68282697438203e-03)
    q = q * z2 + np.float32(-7.37332916720468e-03)
    q = q * z2 + np.float32(-1.42647390514189e-02)
    return np.float32(0.5) * x * (np.float32(1) + z * p / q)


@_serial
def exp_negative(x):  # type: ignore[no-untyped-def]
    """Return exp(x) for x <= 0 to 2e-7 relative, 0 or denormal-free below -87; it vectorises.

    2**n goes into the exponent bits, 2**f (|f| <= 1/2) is Cephes' `exp2f` polynomial.
    """
    y = max(x * np.float32(1.4426950408889634), np.float32(-125))
    n = np.int32(y - np.float32(0.5))  # truncation towards 0, so the nearest integer
    f = y - np.float32(n)
    p = np.float32(1.535336188319500e-4)
    p = p * f + np.float32(1.339887440266574e-3)
    p = p * f + np.float32(9.618437357674640e-3)
    p = p * f + np.float32(5.550332471162809e-2)
    p = p * f + np.float32(2.402264791363012e-1)
    p = p * f + np.float32(6.931472028550421e-1)
    p = p * f + np.float32(1)
    return p * np.int32((n + np.int32(127)) << np.int32(23)).view(np.float32)


@_serial
def softmax(scores, n_valid, n_keys):  # type: ignore[no-untyped-def]
    """Turn scores[:n_valid] into weights that sum to 1, and scores[n_valid:n_keys] into 0."""
    highest = scores[0]
    for t in range(n_valid):
        highest = max(highest, scores[t])
    total = np.float32(0)
    for t in range(n_valid):
        scores[t] = exp_negative(scores[t] - highest)
        total += scores[t]
    for t in range(n_valid):
        scores[t] *= np.float32(1) / total
    for t in range(n_valid, n_keys):
        scores[t] = np.float32(0)


@_serial
def add_and_norm(branch, x, norm, layer, out):  # type: ignore[no-untyped-def]
    """Add `branch` to the residual stream x (n_x, n_state), and normalise the sum into `out`."""
    n_state = x.shape[1]
    gain, bias = norm.gain[layer], norm.bias[layer]
    for j in range(x.shape[0]):
        total = np.float32(0)
        for k in range(n_state):
            x[j, k] += branch[j, k]
            total += x[j, k]
        mean = total / np.float32(n_state)
        squares = np.float32(0)
        for k in range(n_state):
            squares += (x[j, k] - mean) * (x[j, k] - mean)
        inverse = np.float32(1) / np.sqrt(squares / np.float32(n_state) + LAYER_NORM_EPSILON)
        for k in range(n_state):
            out[j, k] = (x[j, k] - mean) * inverse * gain[k] + bias[k]


@_serial
def attend(queries, keys, values, n_keys, causal, scores):  # type: ignore[no-untyped-def]
    """Replace queries (n_q, head_size) by the values that they attend to.

    keys and values (head_size, >= n_keys). Leaves the attention weights in scores
    (n_q, >= n_keys). If `causal`, the last query sees all n_keys, the one before one less, ...
    """
    n_q, head_size = queries.shape
    mix_rows(keys, n_keys, queries, scores)
    for j in range(n_q):
        softmax(scores[j], n_keys - (n_q - 1 - j) if causal else n_keys, n_keys)
    dot_rows(values, np.int64(0), head_size, n_keys, scores, queries)


# The bodies of the parallel loops are functions of their own: numba passes a named tuple's arrays
# into a parallel loop, but its dead-code pass drops stores to them there (0.68).


@_serial
def linear_block(block, product, layer, x, out):  # type: ignore[no-untyped-def]
    """Compute BLOCK_ROWS outputs of `linear`."""
    first = block * BLOCK_ROWS
    last = min(product.weight.shape[1], first + BLOCK_ROWS)
    project(product, layer, first, last, x, out)
    if product.with_gelu:
        for j in range(x.shape[0]):
            for i in range(first, last):
                out[j, i] = gelu(out[j, i])


@_parallel
def linear(product, layer, x, out):  # type: ignore[no-untyped-def]
    """Set out (n_x, n_out) to the product of x (n_x, n_in)."""
    for block in prange((product.weight.shape[1] + BLOCK_ROWS - 1) // BLOCK_ROWS):
        linear_block(np.int64(block), product, layer, x, out)


@_serial
def self_attend_head(head, qkv, layer, s, caches, rows, length):  # type: ignore[no-untyped-def]
    """Compute one head of `self_attention`, from its rows of the weights to its result."""
    _, _, n_head, head_size, _ = caches.self_keys.shape
    n_rows, n_x, n_state = rows.shape[1], s.normed.shape[0], n_head * head_size
    n_new = n_x // n_rows
    start = head * head_size
    for first in range(start, 3 * n_state, n_state):
        project(qkv, layer, first, first + head_size, s.normed, s.qkv)
    for row in range(n_rows):
        keys = caches.self_keys[layer, rows[0, row], head]
        values = caches.self_values[layer, rows[0, row], head]
        queries = s.queries[head, row * n_new : (row + 1) * n_new]
        for i in range(n_new):
            j = row * n_new + i
            for d in range(head_size):
                queries[i, d] = s.qkv[j, start + d]
                keys[d, length + i] = s.qkv[j, n_state + start + d]
                values[d, length + i] = s.qkv[j, 2 * n_state + start + d]
        scores = s.scores[head, row * n_new : (row + 1) * n_new]
        attend(queries, keys, values, length + n_new, True, scores)
        for i in range(n_new):
            for d in range(head_size):
                s.attended[row * n_new + i, start + d] = queries[i, d]


@_parallel
def self_attention(qkv, layer, s, caches, rows, length):  # type: ignore[no-untyped-def]
    """Attend over the tokens so far; s.normed to s.attended.

    A task is a head with its share of the QKV product, so that a layer starts one parallel
    region here (each costs some 5 us) and a head's vectors stay in its core's cache.
    """
    for head in prange(caches.self_keys.shape[2]):
        self_attend_head(np.int64(head), qkv, layer, s, caches, rows, length)


@_serial
def cross_attend_head(head, query, layer, s, caches, rows):  # type: ignore[no-untyped-def]
    """Compute one head of `cross_attention`."""
    _, _, _, head_size, n_audio_ctx = caches.cross_keys.shape
    n_rows = rows.shape[1]
    n_new = s.normed.shape[0] // n_rows
    start = head * head_size
    project(query, layer, start, start + head_size, s.normed, s.qkv)
    row = 0
    while row < n_rows:
        window, end = rows[1, row], row + 1
        while end < n_rows and rows[1, end] == window:
            end += 1
        queries = s.queries[head, row * n_new : end * n_new]
        scores = s.scores[head, row * n_new : end * n_new]
        key_scale = caches.key_scale[layer, window, head]
        value_scale = caches.value_scale[layer, window, head]
        for j in range(queries.shape[0]):
            for d in range(head_size):
                queries[j, d] = s.qkv[row * n_new + j, start + d] * key_scale[d]
        keys = caches.cross_keys[layer, window, head]
        values = caches.cross_values[layer, window, head]
        attend(queries, keys, values, n_audio_ctx, False, scores)
        for j in range(queries.shape[0]):
            for d in range(head_size):
                s.attended[row * n_new + j, start + d] = queries[j, d] * value_scale[d]
        if s.capture_index[layer, head] >= 0:
            kept = s.captured[s.capture_index[layer, head]]
            for j in range(queries.shape[0]):
                for t in range(n_audio_ctx):
                    kept[row * n_new + j, t] = scores[j, t]
        row = end


@_parallel
def cross_attention(query, layer, s, caches, rows):  # type: ignore[no-untyped-def]
    """Attend over the encoded windows; s.normed to s.attended.

    Neighbouring rows of one window (beams) are queries of one product: its keys and values are
    read once.
    """
    for head in prange(caches.cross_keys.shape[2]):
        cross_attend_head(np.int64(head), query, layer, s, caches, rows)


@_serial
def forward(tokens, weights, caches, buffers, rows, length, logits):  # type: ignore[no-untyped-def]
    """Run tokens (n_rows, n_new) through all layers and append their keys and values.

    rows (2, n_rows) holds each row's slot and window, `length` the positions cached before.
    Returns the last LayerNorm's result (n_x, n_state), a view. Sets logits (n_x, n_vocab), or
    leaves them out where `logits` has no rows.
    """
    w, n_x, n_new = weights, tokens.size, tokens.shape[1]
    s = Scratch(
        buffers.x[:n_x],
        buffers.branch[:n_x],
        buffers.normed[:n_x],
        buffers.qkv[:n_x],
        buffers.attended[:n_x],
        buffers.mlp[:n_x],
        buffers.queries,
        buffers.scores,
        buffers.capture_index,
        buffers.captured,
    )
    for j in range(n_x):
        token, position = tokens[j // n_new, j % n_new], length + j % n_new
        for k in range(s.x.shape[1]):
            embedded = np.float32(w.vocabulary.weight[0, token, k]) * w.vocabulary.scale[0, token]
            s.x[j, k] = embedded + w.positions[position, k]
            s.branch[j, k] = np.float32(0)
    for layer in range(w.fc1.weight.shape[0]):
        add_and_norm(s.branch, s.x, w.self_norm, layer, s.normed)
        self_attention(w.self_qkv, layer, s, caches, rows, length)
        linear(w.self_out, layer, s.attended, s.branch)
        add_and_norm(s.branch, s.x, w.cross_norm, layer, s.normed)
        cross_attention(w.cross_q, layer, s, caches, rows)
        linear(w.cross_out, layer, s.attended, s.branch)
        add_and_norm(s.branch, s.x, w.mlp_norm, layer, s.normed)
        linear(w.fc1, layer, s.normed, s.mlp)
        linear(w.fc2, layer, s.mlp, s.branch)
    add_and_norm(s.branch, s.x, w.final_norm, np.int64(0), s.normed)
    if logits.shape[0] > 0:
        linear(w.vocabulary, np.int64(0), s.normed, logits)
    return s.normed
