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

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from whisper_npu_cli.engines.numba_decoder.arrays import (
    CACHES,
    F32,
    I64,
    LINEAR,
    NORM,
    ROUNDED,
    SHARED,
    Rounded,
)
from whisper_npu_cli.engines.numba_decoder.calls import load, view_array
from whisper_npu_cli.engines.numba_decoder.compiling import inlined, kernel, serial

MAX_CODE = 32767  # the largest int16
MAX_SUM = 2**31 - 1  # the largest int32
LANES = 16  # int8 values in one multiply-add
LINE = 64  # bytes of a cache line; all products have a multiple of it as their length
AHEAD = 2048  # bytes from the read to the prefetch; 1024 and 4096 are as good
LAYER_NORM_EPSILON = np.float32(1e-5)  # as in openai/whisper


def _make_dot_tile(n_x: int) -> Any:
    """Return a compiled function of one row of int8 and `n_x` of int16.

    `tile(rows, i, x, j, n, out)` sets out[j + b, i] = rows[i, :n] . x[j + b, :n] for b < n_x.

    This is LLVM by hand: products of neighbours, added in pairs, are one instruction for 16 of
    them where a CPU has it (`vpmaddwd` on x86), and LLVM's vectoriser does not find it in a loop
    over int32, in whichever form. On other CPUs the same lines become widening multiplications.
    Memory is read fastest row by row, a cache line at a time, with prefetches: with two rows in
    turn a step of batch 1 took 1.1 times as long, and one of batch 8 was no faster. The function is
    long because LLVM's builder wants a call for each instruction.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(typing: Any, rows: Any, i: Any, x: Any, j: Any, n: Any, out: Any) -> Any:
        del typing, i, j, n

        def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            _, i, _, j, n, _ = args
            zero, step = (context.get_constant(types.intp, value) for value in (0, LINE))
            int32 = ir.IntType(32)
            sums, products = ir.VectorType(int32, LANES // 2), ir.VectorType(int32, LANES)

            def point_at(array: int, *index: Any) -> Any:
                kind = signature.args[array]
                made = context.make_array(kind)(context, builder, args[array])
                return cgutils.get_item_pointer(context, builder, kind, made, index)

            def advance(value: Any, count: int) -> Any:
                return builder.add(value, context.get_constant(types.intp, count))

            def load_widened(array: int, row: Any, k: Any) -> Any:
                pointer = point_at(array, row, k)
                lanes = ir.VectorType(pointer.type.pointee, LANES).as_pointer()
                loaded = builder.load(builder.bitcast(pointer, lanes), align=1)
                return builder.sext(loaded, products)

            prefetch = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), *[int32] * 3]),
                "llvm.prefetch.p0",  # address, read, keep in all caches, data
            )
            totals = [cgutils.alloca_once_value(builder, sums(None)) for _ in range(n_x)]
            even, odd = (ir.Constant(sums, list(range(first, LANES, 2))) for first in (0, 1))
            with cgutils.for_range_slice(builder, zero, n, step) as (first, _):
                later = builder.gep(point_at(0, i, first), [int32(AHEAD)])
                builder.call(prefetch, [later, int32(0), int32(3), int32(1)])
                for k in (advance(first, offset) for offset in range(0, LINE, LANES)):
                    weights = load_widened(0, i, k)
                    for b, total in enumerate(totals):
                        product = builder.mul(weights, load_widened(2, advance(j, b), k))
                        halves = (builder.shuffle_vector(product, product, h) for h in (even, odd))
                        added = builder.add(builder.load(total), builder.add(*halves))
                        builder.store(added, total)
            add_lanes = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(int32, [sums]), "llvm.vector.reduce.add.v8i32"
            )
            for b, total in enumerate(totals):
                result = builder.call(add_lanes, [builder.load(total)])
                builder.store(builder.sitofp(result, ir.FloatType()), point_at(5, advance(j, b), i))
            return context.get_dummy_value()

        return types.void(rows, types.intp, x, types.intp, types.intp, out), build

    return tile


_tile_of_1, _tile_of_4, _tile_of_5, _tile_of_8 = map(_make_dot_tile, (1, 4, 5, 8))


@serial
def dot_int8(rows, first, last, n, x, out):  # type: ignore[no-untyped-def]
    """Set out[j, i] = rows[i, :n] . x[j, :n] for first <= i < last; the one inner loop.

    `rows` (>= last, >= n) int8, x (n_x, >= n) int16 with codes small enough for int32 sums, n a
    multiple of LINE. The rows are read again for every eight x, so they should fit into a cache.
    """
    j = 0
    while j < x.shape[0]:
        left = x.shape[0] - j
        if left >= 8:
            for i in range(first, last):
                _tile_of_8(rows, i, x, j, n, out)
            j += 8
        elif left >= 5:  # the default number of beams
            for i in range(first, last):
                _tile_of_5(rows, i, x, j, n, out)
            j += 5
        elif left >= 4:
            for i in range(first, last):
                _tile_of_4(rows, i, x, j, n, out)
            j += 4
        else:
            for i in range(first, last):
                _tile_of_1(rows, i, x, j, n, out)
            j += 1


@serial
def dot_f32(rows, first, last, n, x, out):  # type: ignore[no-untyped-def]
    """Do as `dot_int8`, with rows (n_rows, >= n) and x (n_x, >= n) f32 and any n."""
    for j in range(x.shape[0]):
        for i in range(first, last):
            total = np.float32(0)
            for k in range(n):
                total += rows[i, k] * x[j, k]
            out[j, i] = total


@serial
def round_row(j, x, limit, rounded):  # type: ignore[no-untyped-def]
    """Round row j of x (n_x, n) f32 into `rounded`: integers of at most `limit`, and a scale."""
    largest = np.float32(1e-30)
    for k in range(x.shape[1]):
        largest = max(largest, abs(x[j, k]))
    rounded.scale[j] = largest / limit
    inverse = limit / largest
    for k in range(x.shape[1]):
        rounded.codes[j, k] = np.int16(np.rint(x[j, k] * inverse))


@serial
def project(product, layer, first, last, x, out):  # type: ignore[no-untyped-def]
    """Set out[:, first:last] to those outputs of a `Linear` of x, which is `Rounded`."""
    weight = product.weight[layer]
    scale, bias = product.scale[layer, first:last], product.bias[layer, first:last]
    dot_int8(weight, first, last, weight.shape[1], x.codes, out)
    for j in range(out.shape[0]):
        row = out[j, first:last]
        for i in range(row.size):
            row[i] = row[i] * (scale[i] * x.scale[j]) + bias[i]


@serial
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


@njit(fastmath={"contract", "nsz"}, error_model="numpy")  # x may be minus infinity
def exp_negative(x):  # type: ignore[no-untyped-def]
    """Return exp(x) for x <= 0 to 2e-7 relative, 2**-125 below -86.6 (no denormal); it vectorises.

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


@serial
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
def attend_f32(queries, keys, values, n_keys, causal, scores):  # type: ignore[no-untyped-def]
    """Replace queries (n_q, head_size) by the values that they attend to.

    keys (>= n_keys, head_size), values (head_size, >= n_keys). Leaves the attention weights in
    scores (n_q, >= n_keys). If `causal`, the last query sees all n_keys, the one before one less.
    """
    n_q, head_size = queries.shape
    dot_f32(keys, np.int64(0), n_keys, head_size, queries, scores)
    for j in range(n_q):
        softmax(scores[j], n_keys - (n_q - 1 - j) if causal else n_keys, n_keys)
    dot_f32(values, np.int64(0), head_size, n_keys, scores, queries)


@inlined
def attend_int8(queries, keys, values, n_keys, scores, rounded):  # type: ignore[no-untyped-def]
    """Do as `attend_f32`, not causal, with int8 keys and values (head_size, n_padded).

    n_padded is n_keys up to a multiple of LINE; scores has as many columns, `rounded` too.
    """
    n_q, head_size = queries.shape
    n_padded = values.shape[1]
    for j in range(n_q):
        round_row(j, queries, np.float32(MAX_CODE), rounded)
    dot_int8(keys, np.int64(0), n_keys, head_size, rounded.codes[:n_q], scores)
    limit = np.float32(min(MAX_CODE, MAX_SUM // (127 * n_padded)))
    for j in range(n_q):
        for t in range(n_keys):
            scores[j, t] *= rounded.scale[j]
        softmax(scores[j], n_keys, n_padded)
        round_row(j, scores[:, :n_padded], limit, rounded)
    dot_int8(values, np.int64(0), head_size, n_padded, rounded.codes[:n_q], queries)
    for j in range(n_q):
        for d in range(head_size):
            queries[j, d] *= rounded.scale[j]


@serial
def attend_window_f32(queries, keys, values, n_keys, scores, rounded):  # type: ignore  # noqa: ARG001
    """Do as `attend_int8`, with f32 keys and values."""
    attend_f32(queries, keys, values, n_keys, False, scores)


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
    last = min(product.weight.shape[1], first + n_block)
    project(product, layer, first, last, x, out)
    if product.with_gelu:
        for j in range(out.shape[0]):
            row = out[j, first:last]
            for i in range(row.size):
                row[i] = gelu(row[i])


@kernel(SHARED, LINEAR, types.int64, CACHES, I64[2], types.int64)
def self_attend_head(head, arguments):  # type: ignore[no-untyped-def]
    """Compute one head of self-attention, from its rows of the QKV weights to s.attended."""
    shared, qkv, layer, caches, rows, length = load(arguments)
    s = load(shared)
    _, _, n_head, _, head_size = caches.self_keys.shape
    n_rows, n_x, n_state = rows.shape[1], s.normed.shape[0], n_head * head_size
    n_new = n_x // n_rows
    start = head * head_size
    for first in range(start, 3 * n_state, n_state):
        project(qkv, layer, first, first + head_size, Rounded(s.codes, s.code_scale), s.qkv)
    for row in range(n_rows):
        keys = caches.self_keys[layer, rows[0, row], head]
        values = caches.self_values[layer, rows[0, row], head]
        queries = s.queries[head, row * n_new : (row + 1) * n_new]
        for i in range(n_new):
            qkv_row = s.qkv[row * n_new + i, start:]
            for d in range(head_size):
                queries[i, d] = qkv_row[d]
                keys[length + i, d] = qkv_row[n_state + d]
                values[d, length + i] = qkv_row[2 * n_state + d]
        scores = s.scores[head, row * n_new : (row + 1) * n_new]
        attend_f32(queries, keys, values, length + n_new, True, scores)
        for i in range(n_new):
            attended = s.attended[row * n_new + i, start:]
            for d in range(head_size):
                attended[d] = queries[i, d]


@inlined
def cross_attend_head(head, arguments, dtype, attend):  # type: ignore[no-untyped-def]
    """Compute one head of cross-attention, from its rows of the query weights to s.attended.

    The keys and values of all windows are of `dtype`, for which `attend` is. Neighbouring rows of
    one window (beams) are queries of one product: its keys and values are read once.
    """
    shared, query, layer, caches, rows = load(arguments)
    s = load(shared)
    n_layer, _, n_head, _, head_size = caches.self_keys.shape
    n_audio_ctx, n_padded = caches.n_audio_ctx, caches.n_padded
    n_rows = rows.shape[1]
    n_new = s.normed.shape[0] // n_rows
    start = head * head_size
    project(query, layer, start, start + head_size, Rounded(s.codes, s.code_scale), s.qkv)
    row = 0
    while row < n_rows:
        window, end = rows[1, row], row + 1
        while end < n_rows and rows[1, end] == window:
            end += 1
        queries = s.queries[head, row * n_new : end * n_new]
        scores = s.scores[head, row * n_new : end * n_new]
        rounded = Rounded(s.head_codes[head], s.head_scale[head])
        at, heads = caches.cross[window], (n_layer, n_head, head_size)
        keys = view_array(at[0], (n_layer, n_head, n_audio_ctx, head_size), dtype)[layer, head]
        values = view_array(at[1], (n_layer, n_head, head_size, n_padded), dtype)[layer, head]
        key_scale = view_array(at[2], heads, np.float32)[layer, head]
        value_scale = view_array(at[3], heads, np.float32)[layer, head]
        for j in range(queries.shape[0]):
            q = s.qkv[row * n_new + j, start:]
            for d in range(head_size):
                queries[j, d] = q[d] * key_scale[d]
        attend(queries, keys, values, n_audio_ctx, scores, rounded)
        for j in range(queries.shape[0]):
            attended = s.attended[row * n_new + j, start:]
            for d in range(head_size):
                attended[d] = queries[j, d] * value_scale[d]
        if s.capture_index[layer, head] >= 0:
            kept = s.captured[s.capture_index[layer, head]]
            for j in range(queries.shape[0]):
                for t in range(n_audio_ctx):
                    kept[row * n_new + j, t] = scores[j, t]
        row = end


CROSS_ATTENTION = (SHARED, LINEAR, types.int64, CACHES, I64[2])


@kernel(*CROSS_ATTENTION)
def cross_attend_int8(head, arguments):  # type: ignore[no-untyped-def]
    """Compute one head of cross-attention over int8 keys and values."""
    cross_attend_head(head, arguments, np.int8, attend_int8)


@kernel(*CROSS_ATTENTION)
def cross_attend_f32(head, arguments):  # type: ignore[no-untyped-def]
    """Compute one head of cross-attention over f32 keys and values."""
    cross_attend_head(head, arguments, np.float32, attend_window_f32)


@kernel(I64[2], types.int64, LINEAR, F32[1], F32[2], SHARED)
def embed_row(j, arguments):  # type: ignore[no-untyped-def]
    """Begin the residual stream of a token at its position; `s.branch` adds nothing yet."""
    tokens, length, vocabulary, columns, positions, shared = load(arguments)
    s = load(shared)
    n_new = tokens.shape[1]
    token, position = tokens[j // n_new, j % n_new], length + j % n_new
    codes, scale = vocabulary.weight[0, token], vocabulary.scale[0, token]
    for k in range(s.x.shape[1]):
        embedded = np.float32(codes[k]) * (scale * columns[k])
        s.x[j, k] = embedded + positions[position, k]
        s.branch[j, k] = np.float32(0)
