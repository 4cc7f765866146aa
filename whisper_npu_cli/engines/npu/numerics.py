"""The overlay's operations in NumPy, bit for bit: what `spec.py` names, defined exactly.

Row-major float32 matrices in and out; a bf16 operand is a float32 array whose values are bf16.
Every operation is one fp32 operation rounded to nearest even, in the order written here; the
compiled kernels of `mlir/kernels` give the same bits, and the stand-in for pyxrt computes with
this file. It knows no layout and no device.

AIE2 multiplies bf16 by bf16 and adds in fp32; it has no fp32 multiplier. `multiply` is the product
of two fp32 numbers from three such multiplications, good to 2^-16. Only the few numbers per row
of LayerNorm and softmax use true fp32 products, which `aie::mul` emulates with nine.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from whisper_npu_cli.engines.npu.spec import EPILOGUES, HALF, SPLITS, TILE

Matrix = NDArray[np.float32]

POWER = (0.9999245, 0.7036064, 0.24264008)  # 2^x on [-0.5, 0.5], 2e-3 relative: of probabilities
EXP2 = (0.9999245, 0.693121, 0.24264008, 0.055922035)  # the same, 1e-4
EXP2_LOWEST = -120.0  # smaller powers count as zero beside the row's largest, which is near 1
GELU_LIMIT = 12.875  # up to it the normal tail is a normal number of fp32
GELU_EDGES = (2.0, 6.0)
GELU_CENTRES = (1.0, 4.0, 9.4375)
GELU = (  # log2 of the normal tail Phi(-t) around the centres, 7e-4 at most
    (-2.6566296, -2.2001293, -0.57295823, -0.028826863),
    (-14.94771, -6.0958543, -0.6852455, -0.004693592),
    (-68.82846, -13.764912, -0.71328086, -0.00054963643),
)
MAGIC = np.float32(1.5 * 2**23)  # the fp32 numbers around it are integers
EPSILON = 1e-5  # LayerNorm's, as in openai/whisper
MAXIMUM_START = -1e30  # below every score; the difference of the two does not overflow


def round_bf16(x: Matrix) -> Matrix:
    """Round to bf16, ties to even; NaN becomes the quiet NaN of its sign."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    quiet = (bits & np.uint32(0x80000000)) | np.uint32(0x7FC00000)
    chosen: Matrix = np.where(np.isnan(x), quiet, rounded).astype(np.uint32).view(np.float32)
    return chosen


_POWER_TOP, _EXP2_TOP = (round_bf16(np.asarray(c[-1:], np.float32)) for c in (POWER, EXP2))  # (1,)


def multiply(a: Matrix, b: Matrix) -> Matrix:
    """Multiply fp32 numbers by way of bf16: hi * hi + hi * lo + lo * hi."""
    a_hi, b_hi = round_bf16(a), round_bf16(b)
    a_lo, b_lo = round_bf16(a - a_hi), round_bf16(b - b_hi)
    product: Matrix = (a_hi * b_hi + a_hi * b_lo) + a_lo * b_hi
    return product


def scale_exponent(x: Matrix, n: NDArray[np.int32]) -> Matrix:
    """Return x * 2^n for n <= 0; what leaves the normal numbers becomes zero or a denormal."""
    bits = np.ascontiguousarray(x, np.float32).view(np.int32)
    reachable = (bits & 0x7FFFFFFF) >= -n << 23
    scaled: Matrix = np.where(reachable, bits + (n << 23), 0).astype(np.int32).view(np.float32)
    return scaled


def exp2(x: Matrix) -> Matrix:
    """Return 2^x in bf16 for x <= 0, with bf16 factors throughout: within 0.6 %.

    What is below EXP2_LOWEST becomes 2^(EXP2_LOWEST +- 1/2), below -2^22 some small number.
    """
    n = round_integer(x)
    f = round_bf16(x - n)
    p = np.float32(POWER[1]) + f * _POWER_TOP
    p = np.float32(POWER[0]) + f * round_bf16(p)
    return scale_exponent(round_bf16(p), np.fmax(n, np.float32(EXP2_LOWEST)).astype(np.int32))


def gelu(x: Matrix) -> Matrix:
    """Return x * Phi(x) in bf16, within 1 ulp on [-10, 10]: max(x, 0) - |x| * Phi(-|x|).

    Phi(-t) falls by 23 orders of magnitude, so its logarithm is approximated, by three cubic
    polynomials, each around the centre of its piece.
    """
    t: Matrix = np.fmin(np.abs(x), np.float32(GELU_LIMIT))  # NaN takes the limit
    piece = (t >= np.float32(GELU_EDGES[0])).astype(np.intp) + (t >= np.float32(GELU_EDGES[1]))
    c = np.asarray(GELU, np.float32)[piece]
    u = t - np.asarray(GELU_CENTRES, np.float32)[piece]
    y = c[..., 2] + round_bf16(u) * round_bf16(c[..., 3])
    y = c[..., 1] + multiply(u, y)
    y = c[..., 0] + multiply(u, y)
    n = round_integer(y)
    f = y - n
    p = np.float32(EXP2[2]) + round_bf16(f) * _EXP2_TOP
    p = np.float32(EXP2[1]) + round_bf16(f) * round_bf16(p)
    p = np.float32(EXP2[0]) + multiply(f, p)
    tail = multiply(t, scale_exponent(p, n.astype(np.int32)))
    return round_bf16(np.where(x < 0, np.float32(0), x) - tail)


def gemm(
    a: Matrix, weights: Matrix, bias: Matrix, epilogue: str, residual: Matrix | None = None
) -> Matrix:
    """Return epilogue(bias + a @ weights): (M, K) @ (K, N) bf16 -> (M, N), bf16 or fp32 values."""
    how = EPILOGUES[epilogue]
    out = np.repeat(bias[None, :], len(a), axis=0)
    _accumulate(out, a, weights)
    if how.gelu:
        out = gelu(out)
    if residual is not None:
        out = out + residual
    return out if how.layout == "c" else round_bf16(out)


def attention(q: Matrix, k: Matrix, v: Matrix, valid: int) -> Matrix:
    """Return softmax2(q @ k.T) @ v in bf16 for one head: (M, 64) over (keys, 64)."""
    out = np.zeros_like(q)
    maximum = np.full((len(q), 1), MAXIMUM_START, np.float32)
    total = np.zeros((len(q), 1), np.float32)
    for start in range(0, len(k), TILE):
        keys = min(TILE, valid - start)
        scores = np.zeros((len(q), keys), np.float32)
        _accumulate(scores, q, np.ascontiguousarray(k[start : start + keys].T))
        new = np.maximum(maximum, ceil(scores.max(axis=1, keepdims=True)))
        shift = np.maximum(maximum - new, np.float32(EXP2_LOWEST)).astype(np.int32)
        p = exp2(scores - new)
        out, total = scale_exponent(out, shift), scale_exponent(total, shift)
        _accumulate(out, p, v[start : start + keys])
        _accumulate(total, p, np.ones((keys, 1), np.float32))
        maximum = new
    return round_bf16(multiply(out, np.broadcast_to(reciprocal(total), out.shape)))


def layernorm(x: Matrix, valid: int) -> Matrix:
    """Return (x - mean) / sqrt(variance + EPSILON) in bf16, over the first `valid` columns.

    One pass gives both moments, about the row's first column, so that nothing cancels where all
    are equal; each sum runs in four strands, the columns j, j + 4, j + 8, ...
    """
    centred = x - x[:, :1]
    counted = centred[:, :valid].reshape(len(x), -1, 4)
    high = round_bf16(counted)
    low = round_bf16(counted - high)
    sums = np.zeros((len(x), 4), np.float32)
    squares = np.zeros((len(x), 4), np.float32)
    for j in range(counted.shape[1]):
        sums = sums + counted[:, j]
        squares = squares + high[:, j] * high[:, j]
        squares = squares + high[:, j] * low[:, j]
        squares = squares + high[:, j] * low[:, j]
    per_column = np.float32(1) / np.float32(valid)
    mean = _add_strands(sums) * per_column
    variance = np.fmax(_add_strands(squares) * per_column - mean * mean, np.float32(0))
    scale = reciprocal_root(variance + np.float32(EPSILON))
    return round_bf16(multiply(centred - mean, np.broadcast_to(scale, x.shape)))


def spectrum(samples: Matrix, weights: Matrix, bias: Matrix, m: int) -> Matrix:
    """Return the power of m frames as (m, n) bf16, 32 high and 32 low parts in turn.

    A frame begins with every row of `samples` (rows, hop); `weights` (SPLITS * k, n) are bf16.
    """
    a = split_frames(samples, m, len(weights) // SPLITS)
    return measure_power(gemm(a, weights, bias, "f32"))


def measure_power(parts: Matrix) -> Matrix:
    """Return the power of 32 real and 32 imaginary parts in turn, as 32 high and 32 low parts."""
    real, imaginary = np.moveaxis(parts.reshape(len(parts), -1, 2, HALF), 2, 0)
    power = np.zeros_like(real)
    for x in (real, imaginary):
        high = round_bf16(x)
        low = round_bf16(x - high)
        power = power + high * high
        power = power + high * low
        power = power + high * low
    high = round_bf16(power)
    return np.stack([high, round_bf16(power - high)], axis=2).reshape(parts.shape)


def split_frames(samples: Matrix, m: int, k: int) -> Matrix:
    """Return the A (m, SPLITS * k) of `spectrum`: m frames of k samples, in bf16 parts."""
    hop = samples.shape[1]
    frames = sliding_window_view(samples.reshape(-1), k)[::hop][:m].reshape(m, -1, 1, HALF)
    high = round_bf16(frames)
    return np.concatenate([high, round_bf16(frames - high)] * 2, axis=2).reshape(m, -1)


def round_integer(x: Matrix) -> Matrix:
    """Round to the nearest integer with an fp32 adder, for |x| < 2^22; larger x hardly change."""
    return (x + MAGIC) - MAGIC


def ceil(x: Matrix) -> Matrix:
    """Round up by way of `round_integer`."""
    near = round_integer(x)
    up: Matrix = np.where(near < x, near + np.float32(1), near)
    return up


def reciprocal(x: Matrix) -> Matrix:
    """Return 1 / x for normal x > 0: three Newton steps from the exponent trick."""
    y: Matrix = (np.int32(0x7EF311C7) - x.view(np.int32)).view(np.float32)
    for _ in range(3):
        y *= np.float32(2) - x * y
    return y


def reciprocal_root(x: Matrix) -> Matrix:
    """Return 1 / sqrt(x) for normal x > 0: three Newton steps from the exponent trick."""
    y: Matrix = (np.int32(0x5F375A86) - (x.view(np.int32) >> 1)).view(np.float32)
    half: Matrix = np.float32(0.5) * x
    for _ in range(3):
        y *= np.float32(1.5) - half * (y * y)
    return y


def _add_strands(strands: Matrix) -> Matrix:
    pairs = strands[:, [0, 2]] + strands[:, [1, 3]]
    return pairs[:, :1] + pairs[:, 1:]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _accumulate(out: Matrix, a: Matrix, b: Matrix) -> None:
    """Add a @ b to `out`, term by term in the order of K, which is a multiple of 4.

    Columns go in stripes that stay in the L1 cache, with four terms between a load and a store.
    """
    for first in range(0, b.shape[1], 64):
        last = min(first + 64, b.shape[1])
        for i in range(a.shape[0]):
            for k in range(0, a.shape[1], 4):
                a0, a1, a2, a3 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
                for j in range(first, last):
                    term = out[i, j] + a0 * b[k, j]
                    term += a1 * b[k + 1, j]
                    term += a2 * b[k + 2, j]
                    out[i, j] = term + a3 * b[k + 3, j]
