"""The operations of `numerics.py` compiled: the same bits, fifty times as fast.

`numerics.py` is the definition and is written to be read; a window of whisper-base takes it
minutes. Here the same fp32 operations follow in the same order, element by element, and
`test_fast.py` holds the two together bit by bit. A fused multiply-add is allowed for
products of bf16 numbers alone: these are exact in fp32 unless they leave its range, so nothing
is rounded in between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from whisper_npu_cli.engines.npu import numerics
from whisper_npu_cli.engines.npu.numerics import Matrix
from whisper_npu_cli.engines.npu.spec import EPILOGUES, HALF, SPLITS, TILE

F = np.float32
EXP2_0, EXP2_1, EXP2_2 = (F(value) for value in numerics.EXP2[:3])
POWER_0, POWER_1 = (F(value) for value in numerics.POWER[:2])
POWER_2 = numerics.round_bf16(np.array(numerics.POWER[2:], F))[0]
EXP2_3 = numerics.round_bf16(np.array(numerics.EXP2[3:], F))[0]
LOWEST, MAGIC, START = F(numerics.EXP2_LOWEST), F(numerics.MAGIC), F(numerics.MAXIMUM_START)
GELU, CENTRES = np.array(numerics.GELU, F), np.array(numerics.GELU_CENTRES, F)
LIMIT, EDGE_1, EDGE_2 = F(numerics.GELU_LIMIT), *(F(edge) for edge in numerics.GELU_EDGES)
ROWS = 4  # rows of one operand that share a load of the other

exact = njit(nogil=True, cache=True)
contracted = njit(
    nogil=True, cache=True, fastmath={"contract"}
)  # for products of bf16 numbers only


def gemm(
    a: Matrix, weights: Matrix, bias: Matrix, epilogue: str, residual: Matrix | None = None
) -> Matrix:
    """Return what `numerics.gemm` returns."""
    how = EPILOGUES[epilogue]
    out = np.repeat(bias[None, :], len(a), axis=0)
    _accumulate(out, a, weights)
    if how.gelu:
        _gelu_rows(out)
    if residual is not None:
        out += residual
    return out if how.layout == "c" else numerics.round_bf16(out)


def attention(q: Matrix, k: Matrix, v: Matrix, valid: int) -> Matrix:
    """Return what `numerics.attention` returns."""
    out = np.zeros_like(q)
    state = np.empty((2, len(q)), F)  # running maximum and sum of each row
    state[0], state[1] = START, 0
    for start in range(0, len(k), TILE):
        keys = min(TILE, valid - start)
        scores = np.zeros((len(q), keys), F)
        _accumulate(scores, q, np.ascontiguousarray(k[start : start + keys].T))
        _softmax_step(scores, out, state)
        _accumulate(out, scores, v[start : start + keys])
    _divide_rows(out, state[1])
    return out


def layernorm(x: Matrix, valid: int) -> Matrix:
    """Return what `numerics.layernorm` returns."""
    out = np.empty_like(x)
    _layernorm_rows(x, out, valid)
    return out


def spectrum(samples: Matrix, weights: Matrix, bias: Matrix, m: int) -> Matrix:
    """Return what `numerics.spectrum` returns."""
    out = np.repeat(bias[None, :], m, axis=0)
    _accumulate(out, numerics.split_frames(samples, m, len(weights) // SPLITS), weights)
    _power_rows(out)
    return out


@contracted  # type: ignore[untyped-decorator]
def _accumulate(out: Matrix, a: Matrix, b: Matrix) -> None:
    """Add a @ b to `out`, term by term in the order of K; both hold bf16 numbers.

    A stripe of B's columns is copied together: in place its rows would share few cache sets.
    """
    n_rows, depth = a.shape
    stripe = np.empty((depth, TILE), F)
    sums = np.empty((ROWS, TILE), F)
    for first in range(0, b.shape[1], TILE):
        width = min(TILE, b.shape[1] - first)
        stripe[:, :width] = b[:, first : first + width]
        for row in range(0, n_rows, ROWS):
            height = min(ROWS, n_rows - row)
            sums[:height, :width] = out[row : row + height, first : first + width]
            for k in range(depth):
                for r in range(height):
                    factor = a[row + r, k]
                    for j in range(TILE):
                        sums[r, j] += factor * stripe[k, j]
            out[row : row + height, first : first + width] = sums[:height, :width]


@exact  # type: ignore[untyped-decorator]
def _round(x: Any) -> Any:
    """Round one fp32 number to bf16; NaN keeps its sign."""
    bits = F(x).view(np.uint32)
    if np.isnan(x):
        return np.uint32((bits & np.uint32(0x80000000)) | np.uint32(0x7FC00000)).view(F)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return np.uint32((bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)).view(F)


@exact  # type: ignore[untyped-decorator]
def _multiply(a: Any, b: Any) -> Any:
    a_hi, b_hi = _round(a), _round(b)
    a_lo, b_lo = _round(a - a_hi), _round(b - b_hi)
    return (a_hi * b_hi + a_hi * b_lo) + a_lo * b_hi


@exact  # type: ignore[untyped-decorator]
def _scale(x: Any, n: Any) -> Any:
    """Multiply by 2^n, n <= 0."""
    bits = F(x).view(np.int32)
    reachable = (bits & np.int32(0x7FFFFFFF)) >= np.int32(-n << 23)
    return np.int32(bits + np.int32(n << 23) if reachable else 0).view(F)


@exact  # type: ignore[untyped-decorator]
def _exp2(x: Any) -> Any:
    n = (x + MAGIC) - MAGIC
    f = _round(x - n)
    p = POWER_1 + f * POWER_2
    p = POWER_0 + f * _round(p)
    return _scale(_round(p), np.int32(n if n > LOWEST else LOWEST))


@exact  # type: ignore[untyped-decorator]
def _gelu(x: Any) -> Any:
    t = abs(x) if abs(x) < LIMIT else LIMIT
    piece = int(t >= EDGE_1) + int(t >= EDGE_2)
    u = t - CENTRES[piece]
    y = GELU[piece, 2] + _round(u) * _round(GELU[piece, 3])
    y = GELU[piece, 1] + _multiply(u, y)
    y = GELU[piece, 0] + _multiply(u, y)
    n = (y + MAGIC) - MAGIC
    f = y - n
    p = EXP2_2 + _round(f) * EXP2_3
    p = EXP2_1 + _round(f) * _round(p)
    p = EXP2_0 + _multiply(f, p)
    tail = _multiply(t, _scale(p, np.int32(n)))
    return _round((F(0) if x < 0 else x) - tail)


@exact  # type: ignore[untyped-decorator]
def _gelu_rows(x: Matrix) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] = _gelu(x[i, j])


@exact  # type: ignore[untyped-decorator]
def _softmax_step(scores: Matrix, out: Matrix, state: Matrix) -> None:
    """Turn the scores of one block of keys into powers; rescale output, maximum and sum."""
    for i in range(scores.shape[0]):
        top = scores[i].max()
        near = (top + MAGIC) - MAGIC
        top = near + F(1) if near < top else near
        top = max(state[0, i], top)
        shift = np.int32(max(state[0, i] - top, LOWEST))
        total = _scale(state[1, i], shift)
        for j in range(out.shape[1]):
            out[i, j] = _scale(out[i, j], shift)
        for j in range(scores.shape[1]):
            scores[i, j] = _exp2(scores[i, j] - top)
            total += scores[i, j]
        state[0, i], state[1, i] = top, total


@exact  # type: ignore[untyped-decorator]
def _divide_rows(out: Matrix, totals: Matrix) -> None:
    for i in range(out.shape[0]):
        x = F(totals[i])
        y = np.int32(np.int32(0x7EF311C7) - x.view(np.int32)).view(F)
        for _ in range(3):
            y *= F(2) - x * y
        for j in range(out.shape[1]):
            out[i, j] = _round(_multiply(out[i, j], y))


@exact  # type: ignore[untyped-decorator]
def _power_rows(x: Matrix) -> None:
    """Turn every HALF real and imaginary parts into the high and low parts of their power."""
    for i in range(x.shape[0]):
        for first in range(0, x.shape[1], TILE):
            for j in range(first, first + HALF):
                power = _add_square(_add_square(F(0), x[i, j]), x[i, j + HALF])
                x[i, j] = _round(power)
                x[i, j + HALF] = _round(power - x[i, j])


@exact  # type: ignore[untyped-decorator]
def _add_square(total: Any, x: Any) -> Any:
    high = _round(x)
    low = _round(x - high)
    total = total + high * high
    total = total + high * low
    return total + high * low


@exact  # type: ignore[untyped-decorator]
def _layernorm_rows(x: Matrix, out: Matrix, valid: int) -> None:
    per_column = F(1) / F(valid)
    strands = np.empty((2, 4), F)
    for i in range(x.shape[0]):
        strands[:] = 0
        for j in range(valid):
            centred = x[i, j] - x[i, 0]
            high = _round(centred)
            low = _round(centred - high)
            strands[0, j % 4] += centred
            square = strands[1, j % 4] + high * high
            square = square + high * low
            strands[1, j % 4] = square + high * low
        mean = ((strands[0, 0] + strands[0, 1]) + (strands[0, 2] + strands[0, 3])) * per_column
        squares = (strands[1, 0] + strands[1, 1]) + (strands[1, 2] + strands[1, 3])
        variance = squares * per_column - mean * mean
        y = _reciprocal_root((variance if variance > 0 else F(0)) + F(numerics.EPSILON))
        for j in range(x.shape[1]):
            out[i, j] = _round(_multiply((x[i, j] - x[i, 0]) - mean, y))


@exact  # type: ignore[untyped-decorator]
def _reciprocal_root(x: Any) -> Any:
    y = np.int32(np.int32(0x5F375A86) - (F(x).view(np.int32) >> np.int32(1))).view(F)
    half = F(0.5) * x
    for _ in range(3):
        y *= F(1.5) - half * (y * y)
    return y
