"""The definition of the overlay's operations, held to float64."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_ndtr

from whisper_npu_cli.engines.npu import numerics


def _normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def relative(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def test_round_bf16_to_nearest_even() -> None:
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0xFFC12345], np.uint32)
    wanted = np.array([0x3F80, 0x3F82, 0x3F81, 0x7F80, 0xFFC0], np.uint32)
    assert np.array_equal(numerics.round_bf16(bits.view(np.float32)).view(np.uint32) >> 16, wanted)


def test_multiply_is_good_to_16_bits() -> None:
    a, b = _normal(1, 4096), _normal(2, 4096)
    # each factor keeps 16 bits or more: 2 * 2^-17, and the product of the low parts is dropped
    assert np.abs(numerics.multiply(a, b) / (a.astype(np.float64) * b) - 1).max() < 2**-15.5


def test_gelu_within_one_ulp() -> None:
    x = np.concatenate([np.linspace(-10, 10, 200_001), -np.logspace(-30, 1, 9999)])
    x = x.astype(np.float32)
    exact = np.exp(log_ndtr(x.astype(np.float64))) * x
    ulp = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(exact), 2.0**-126))) - 7)
    assert (np.abs(numerics.gelu(x) - exact) / ulp).max() <= 1


def test_gelu_of_extremes() -> None:
    largest = np.finfo(np.float32).max
    x = np.array([np.inf, largest, 1e-40, 0, -1e-40, -largest, -np.inf, np.nan], np.float32)
    y = numerics.gelu(x)
    assert y[0] == np.inf and y[1] == np.inf  # the largest fp32 rounds up in bf16
    assert np.isnan(y[7])
    assert np.abs(y[2:7]).max() < 1e-35


def test_attention_rows_within_one_percent() -> None:
    q, k, v = (numerics.round_bf16(_normal(seed, 128, 64)) for seed in (3, 4, 5))
    scores = q.astype(np.float64) @ k[:100].T
    p = 2 ** (scores - scores.max(axis=1, keepdims=True))
    exact = p / p.sum(axis=1, keepdims=True) @ v[:100]
    # bf16 probabilities: 0.2 % from rounding and 0.4 % from exp2, averaging out over keys
    assert relative(numerics.attention(q, k, v, 100), exact) < 5e-3
    ones = numerics.attention(q, k, np.ones_like(v), 100)
    assert np.abs(ones - 1).max() < 1e-2  # rows are normalised


@pytest.mark.parametrize("offset", [0.0, -500.0, 500.0])
def test_attention_does_not_depend_on_the_level_of_the_scores(offset: float) -> None:
    q, k, v = np.ones((64, 64), np.float32), np.zeros((64, 64), np.float32), _normal(6, 64, 64)
    k[:, 0] = offset
    exact = np.repeat(numerics.round_bf16(v).mean(axis=0, keepdims=True), 64, axis=0)
    assert relative(numerics.attention(q, k, numerics.round_bf16(v), 64), exact) < 5e-3


def test_layernorm_with_an_outlying_first_column() -> None:
    x = _normal(7, 64, 512) * 3 + 1
    x[:, 0] *= 50
    counted = x[:, :384].astype(np.float64)
    exact = counted - counted.mean(axis=1, keepdims=True)
    exact /= np.sqrt(counted.var(axis=1, keepdims=True) + numerics.EPSILON)
    assert relative(numerics.layernorm(x, 384)[:, :384], exact) < 4e-3  # bf16: 2^-9 and a little


def test_layernorm_of_equal_columns_is_zero() -> None:
    assert not numerics.layernorm(np.full((64, 256), 1234.5, np.float32), 256).any()


def test_gemm_epilogues() -> None:
    a, w = numerics.round_bf16(_normal(8, 64, 128)), numerics.round_bf16(_normal(9, 128, 64))
    bias, residual = _normal(10, 64), _normal(11, 64, 64)
    exact = a.astype(np.float64) @ w + bias
    assert relative(numerics.gemm(a, w, bias, "f32"), exact) < 1e-6  # 128 additions in fp32
    assert relative(numerics.gemm(a, w, bias, "bf16"), exact) < 2**-9
    assert relative(numerics.gemm(a, w, bias, "residual", residual), exact + residual) < 1e-6
    gelu = np.exp(log_ndtr(exact)) * exact
    assert relative(numerics.gemm(a, w, bias, "gelu"), gelu) < 4e-3
    found = numerics.gemm(a, w, bias, "gelu_residual", residual)
    assert relative(found, gelu + residual) < 4e-3
