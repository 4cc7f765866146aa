"""The compiled text decoder: token ids in, logits out, over int8 weights and cached keys.

At batch 1 a step reads every weight once and does two operations with each, so memory is the
limit and the form of these kernels follows from it: weights and cross-attention keys and values
are int8; one compiled call does a whole step, because a return to Python for each of ~40
products would cost as much as the products; rows (windows, beams, prompt positions) are folded
into one axis, so that a weight is read once for all of them.

Products with int8 are integer products: activations are rounded to 16 bits first, a row at a
time. Widened to fp32 instead, a core took 14 GB/s of weights at batch 1, below what it can read,
and 38 G multiply-adds a second at batch 8; so it takes 33 GB/s and does 63 G (Zen 3, AVX2). The
16 bits are off by 2e-5 of the largest activation, the int8 weights by 4e-3 of theirs.

All shapes are run-time values, so the code is compiled once and serves every model. The kernels
share one file because numba's disk cache only notices changes of the file that it compiled.
Knows nothing of checkpoints, windows or which token to choose.

Axes: n_x = n_rows * n_new activations, row-major; n_new is 1 in a step, more in a prefill.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from whisper_npu_cli.decoder.arrays import Rounded, Scratch

MAX_CODE = 32767  # of int16
MAX_SUM = 2**31 - 1  # of int32
LANES = 16  # int8 of one multiply-add
LINE = 64  # bytes of a cache line; all products have a multiple of it as their length
AHEAD = 2048  # bytes between what is read and what is asked for; 1024 and 8192 are as good
LAYER_NORM_EPSILON = np.float32(1e-5)  # as in openai/whisper
BLOCK_ROWS = 32  # weight rows of one parallel task: 16 tasks for 512 outputs


# Reassociation lets LLVM split a sum into vector lanes; without it nothing here vectorises.
_serial = njit(fastmath=True, error_model="numpy")
_parallel = njit(fastmath=True, error_model="numpy", parallel=True)


def _dot_tile(n_x: int, length: int) -> Any:
    """Return a compiled function of 2 rows of int8 and `n_x` of int16, `length` at a time.

    `tile(rows, i, x, j, n, out)` sets out[j + b, i + a] = rows[i + a, :n] . x[j + b, :n] for
    a < 2, b < n_x. Each row is loaded once for all of x.

    This is LLVM by hand: products of neighbours, added in pairs, are one instruction for 16 of
    them where a CPU has it (`vpmaddwd` on x86), and LLVM's vectoriser does not find it in a loop
    over int32, in whichever form. On other CPUs the same lines become widening multiplications.
    Weights are asked for ahead, which brings 26 MB of them in 0.65 instead of 0.93 ms.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(typing: Any, rows: Any, i: Any, x: Any, j: Any, n: Any, out: Any) -> Any:
        del typing, i, j, n

        def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            _, i, _, j, n, _ = args
            zero, step = (context.get_constant(types.intp, value) for value in (0, length))
            int32 = ir.IntType(32)
            sums, products = ir.VectorType(int32, LANES // 2), ir.VectorType(int32, LANES)

            def item(array: int, *index: Any) -> Any:
                kind = signature.args[array]
                made = context.make_array(kind)(context, builder, args[array])
                return cgutils.get_item_pointer(context, builder, kind, made, index)

            def after(value: Any, count: int) -> Any:
                return builder.add(value, context.get_constant(types.intp, count))

            def widened(array: int, row: Any, k: Any) -> Any:
                pointer = item(array, row, k)
                lanes = ir.VectorType(pointer.type.pointee, LANES).as_pointer()
                loaded = builder.load(builder.bitcast(pointer, lanes), align=1)
                return builder.sext(loaded, products)

            prefetch = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), *[int32] * 3]),
                "llvm.prefetch.p0",  # address, read, keep in all caches, data
            )
            pairs = [(a, b) for a in range(2) for b in range(n_x)]
            totals = {pair: cgutils.alloca_once_value(builder, sums(None)) for pair in pairs}
            even, odd = (ir.Constant(sums, list(range(first, LANES, 2))) for first in (0, 1))
            with cgutils.for_range_slice(builder, zero, n, step) as (first, _):
                for a in range(2):
                    later = builder.gep(item(0, after(i, a), first), [int32(AHEAD)])
                    builder.call(prefetch, [later, int32(0), int32(3), int32(1)])
                for k in (after(first, offset) for offset in range(0, length, LANES)):
                    weights = [widened(0, after(i, a), k) for a in range(2)]
                    inputs = [widened(2, after(j, b), k) for b in range(n_x)]
                    for a, b in pairs:
                        product = builder.mul(weights[a], inputs[b])
                        halves = (builder.shuffle_vector(product, product, h) for h in (even, odd))
                        total = builder.add(builder.load(totals[a, b]), builder.add(*halves))
                        builder.store(total, totals[a, b])
            add_lanes = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(int32, [sums]), "llvm.vector.reduce.add.v8i32"
            )
            for a, b in pairs:
                total = builder.call(add_lanes, [builder.load(totals[a, b])])
                result = builder.sitofp(total, ir.FloatType())
                builder.store(result, item(5, after(j, b), after(i, a)))
            return context.get_dummy_value()

        return types.void(rows, types.intp, x, types.intp, types.intp, out), build

    return tile


# A whole cache line of each row at once where the rows are little used: 28 GB/s instead of 16. With
# four activations the registers do not suffice for that, and it takes 1.7 times as long.
_tile_of_1, _tile_of_4 = _dot_tile(1, LINE), _dot_tile(4, LANES)


@_serial
def dot_int8(rows, first, last, n, x, out):  # type: ignore[no-untyped-def]
    """Set out[j, i] = rows[i, :n] . x[j, :n] for first <= i < last; the one inner loop.

    Two rows by four activations: eight sums hide the latency of an addition in 16 vector
    registers. An odd last row is computed in a pair with its predecessor. `rows` (n_rows >= 2,
    >= n) int8, x (n_x, >= n) int16 with codes small enough for int32 sums, n a multiple of LINE.
    """
    for pair in range(first, last, 2):
        i = max(min(pair, last - 2), 0)
        j = 0
        while j + 4 <= x.shape[0]:
            _tile_of_4(rows, i, x, j, n, out)
            j += 4
        while j < x.shape[0]:
            _tile_of_1(rows, i, x, j, n, out)
            j += 1


@_serial
def dot_f32(rows, first, last, n, x, out):  # type: ignore[no-untyped-def]
    """Do as `dot_int8`, with rows (n_rows, >= n) and x (n_x, >= n) f32 and any n."""
    for j in range(x.shape[0]):
        for i in range(first, last):
            total = np.float32(0)
            for k in range(n):
                total += rows[i, k] * x[j, k]
            out[j, i] = total


@_serial
def rounded(x, limit):  # type: ignore[no-untyped-def]
    """Return x (n_x, n) f32 as integers of at most `limit`, with a scale for each row."""
    n_x, n = x.shape
    codes, scale = np.empty((n_x, n), np.int16), np.empty(n_x, np.float32)
    for j in range(n_x):
        largest = np.float32(1e-30)
        for k in range(n):
            largest = max(largest, abs(x[j, k]))
        scale[j] = largest / limit
        inverse = limit / largest
        for k in range(n):
            codes[j, k] = np.int16(np.rint(x[j, k] * inverse))
    return Rounded(codes, scale)


@_serial
def project(product, layer, first, last, x, out):  # type: ignore[no-untyped-def]
    """Set out[:, first:last] to those outputs of a `Linear` of x, which is `Rounded`."""
    weight, scale, bias = product.weight[layer], product.scale[layer], product.bias[layer]
    dot_int8(weight, first, last, weight.shape[1], x.codes, out)
    for j in range(out.shape[0]):
        for i in range(first, last):
            out[j, i] = out[j, i] * (scale[i] * x.scale[j]) + bias[i]


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


@njit(fastmath={"contract", "nsz"}, error_model="numpy")  # x may be minus infinity
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


@_serial
def attend_int8(queries, keys, values, n_keys, scores):  # type: ignore[no-untyped-def]
    """Do as `attend_f32`, not causal, with int8 keys and values (head_size, n_padded).

    n_padded is n_keys up to a multiple of LINE; scores has as many columns.
    """
    n_q, head_size = queries.shape
    n_padded = values.shape[1]
    q = rounded(queries, np.float32(MAX_CODE))
    dot_int8(keys, np.int64(0), n_keys, head_size, q.codes, scores)
    for j in range(n_q):
        for t in range(n_keys):
            scores[j, t] *= q.scale[j]
        softmax(scores[j], n_keys, n_padded)
    limit = np.float32(min(MAX_CODE, MAX_SUM // (127 * n_padded)))
    weights = rounded(scores[:, :n_padded], limit)
    dot_int8(values, np.int64(0), head_size, n_padded, weights.codes, queries)
    for j in range(n_q):
        for d in range(head_size):
            queries[j, d] *= weights.scale[j]


def attend_window(queries: Any, keys: Any, values: Any, n_keys: Any, scores: Any) -> None:
    """Stand for `attend_int8` or `attend_f32`, by what a window's keys and values are."""
    raise NotImplementedError("compiled code only")


@overload(attend_window)
def _attend_window(queries, keys, values, n_keys, scores):  # type: ignore[no-untyped-def]
    del queries, values, n_keys, scores

    def call_int8(queries, keys, values, n_keys, scores):  # type: ignore[no-untyped-def]
        attend_int8(queries, keys, values, n_keys, scores)

    def call_f32(queries, keys, values, n_keys, scores):  # type: ignore[no-untyped-def]
        attend_f32(queries, keys, values, n_keys, False, scores)

    return call_int8 if keys.dtype == types.int8 else call_f32


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(typing: Any, address: Any) -> Any:
    """Return the integer `address` as a pointer."""
    del typing

    def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        del signature
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(address), build


@_serial
def array_at(address, like):  # type: ignore[no-untyped-def]
    """Return the contiguous array that lies at `address`, with the shape and type of `like`."""
    return carray(_pointer(address), like.shape, like.dtype)


# The bodies of the parallel loops are functions of their own: numba passes a named tuple's arrays
# into a parallel loop, but its dead-code pass drops stores to them there (0.68).


@_serial
def linear_block(block, product, layer, x, out):  # type: ignore[no-untyped-def]
    """Compute BLOCK_ROWS outputs of `linear`; x is `Rounded`."""
    first = block * BLOCK_ROWS
    last = min(product.weight.shape[1], first + BLOCK_ROWS)
    project(product, layer, first, last, x, out)
    if product.with_gelu:
        for j in range(out.shape[0]):
            for i in range(first, last):
                out[j, i] = gelu(out[j, i])


@_parallel
def linear(product, layer, x, out):  # type: ignore[no-untyped-def]
    """Set out (n_x, n_out) to the product of x (n_x, n_in), which is `Rounded`."""
    for block in prange((product.weight.shape[1] + BLOCK_ROWS - 1) // BLOCK_ROWS):
        linear_block(np.int64(block), product, layer, x, out)


@_serial
def self_attend_head(head, qkv, layer, normed, s, caches, rows, length):  # type: ignore[no-untyped-def]
    """Compute one head of `self_attention`, from its rows of the weights to its result."""
    _, _, n_head, _, head_size = caches.self_keys.shape
    n_rows, n_x, n_state = rows.shape[1], s.normed.shape[0], n_head * head_size
    n_new = n_x // n_rows
    start = head * head_size
    for first in range(start, 3 * n_state, n_state):
        project(qkv, layer, first, first + head_size, normed, s.qkv)
    for row in range(n_rows):
        keys = caches.self_keys[layer, rows[0, row], head]
        values = caches.self_values[layer, rows[0, row], head]
        queries = s.queries[head, row * n_new : (row + 1) * n_new]
        for i in range(n_new):
            j = row * n_new + i
            for d in range(head_size):
                queries[i, d] = s.qkv[j, start + d]
                keys[length + i, d] = s.qkv[j, n_state + start + d]
                values[d, length + i] = s.qkv[j, 2 * n_state + start + d]
        scores = s.scores[head, row * n_new : (row + 1) * n_new]
        attend_f32(queries, keys, values, length + n_new, True, scores)
        for i in range(n_new):
            for d in range(head_size):
                s.attended[row * n_new + i, start + d] = queries[i, d]


@_parallel
def self_attention(qkv, layer, normed, s, caches, rows, length):  # type: ignore[no-untyped-def]
    """Attend over the tokens so far; normed, which is `Rounded`, to s.attended.

    A task is a head with its share of the QKV product, so that a layer starts one parallel
    region here (each costs some 5 us) and a head's vectors stay in its core's cache.
    """
    for head in prange(caches.self_keys.shape[2]):
        self_attend_head(np.int64(head), qkv, layer, normed, s, caches, rows, length)


@_serial
def cross_attend_head(head, query, layer, normed, s, caches, rows):  # type: ignore[no-untyped-def]
    """Compute one head of `cross_attention`."""
    _, _, n_audio_ctx, head_size = caches.cross_keys.shape
    n_rows = rows.shape[1]
    n_new = s.normed.shape[0] // n_rows
    start = head * head_size
    project(query, layer, start, start + head_size, normed, s.qkv)
    row = 0
    while row < n_rows:
        window, end = rows[1, row], row + 1
        while end < n_rows and rows[1, end] == window:
            end += 1
        queries = s.queries[head, row * n_new : end * n_new]
        scores = s.scores[head, row * n_new : end * n_new]
        at = caches.cross[window]
        keys = array_at(at[0], caches.cross_keys)[layer, head]
        values = array_at(at[1], caches.cross_values)[layer, head]
        key_scale = array_at(at[2], caches.key_scale)[layer, head]
        value_scale = array_at(at[3], caches.value_scale)[layer, head]
        for j in range(queries.shape[0]):
            for d in range(head_size):
                queries[j, d] = s.qkv[row * n_new + j, start + d] * key_scale[d]
        attend_window(queries, keys, values, n_audio_ctx, scores)
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
def cross_attention(query, layer, normed, s, caches, rows):  # type: ignore[no-untyped-def]
    """Attend over the encoded windows; normed, which is `Rounded`, to s.attended.

    Neighbouring rows of one window (beams) are queries of one product: its keys and values are
    read once.
    """
    for head in prange(caches.cross_keys.shape[1]):
        cross_attend_head(np.int64(head), query, layer, normed, s, caches, rows)


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
        normed = rounded(s.normed, w.self_qkv.limit[layer])
        self_attention(w.self_qkv, layer, normed, s, caches, rows, length)
        linear(w.self_out, layer, rounded(s.attended, w.self_out.limit[layer]), s.branch)
        add_and_norm(s.branch, s.x, w.cross_norm, layer, s.normed)
        normed = rounded(s.normed, w.cross_q.limit[layer])
        cross_attention(w.cross_q, layer, normed, s, caches, rows)
        linear(w.cross_out, layer, rounded(s.attended, w.cross_out.limit[layer]), s.branch)
        add_and_norm(s.branch, s.x, w.mlp_norm, layer, s.normed)
        linear(w.fc1, layer, rounded(s.normed, w.fc1.limit[layer]), s.mlp)
        linear(w.fc2, layer, rounded(s.mlp, w.fc2.limit[layer]), s.branch)
    add_and_norm(s.branch, s.x, w.final_norm, np.int64(0), s.normed)
    if logits.shape[0] > 0:
        linear(w.vocabulary, np.int64(0), rounded(s.normed, w.vocabulary.limit[0]), logits)
    return s.normed
