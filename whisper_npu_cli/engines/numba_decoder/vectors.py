"""Functions of numbers and of rows in forms that LLVM vectorises."""

from __future__ import annotations

import numpy as np
from numba import njit

from whisper_npu_cli.engines.numba_decoder.compiling import serial

_MAGNITUDE = np.int32(0x7FFFFFFF)  # all bits of a float but its sign


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
def _order(bits):  # type: ignore[no-untyped-def]
    """Turn a float's bits into an integer of the same order, or that integer into the bits."""
    return bits ^ ((bits >> np.int32(31)) & _MAGNITUDE)


@serial
def highest(x):  # type: ignore[no-untyped-def]
    """Return the largest number of a row, which is no NaN.

    LLVM vectorises the maximum of integers, and not that of floats as numba writes it: 51,865
    numbers took 28 us, and take 4 (Zen 4).
    """
    found = _order(np.float32(x[0]).view(np.int32))
    for i in range(x.size):
        found = max(found, _order(np.float32(x[i]).view(np.int32)))
    return np.int32(_order(found)).view(np.float32)


@serial
def highest_magnitude(x):  # type: ignore[no-untyped-def]
    """Return the largest magnitude of a row."""
    found = np.int32(0)
    for i in range(x.size):
        found = max(found, np.float32(x[i]).view(np.int32) & _MAGNITUDE)
    return np.int32(found).view(np.float32)
