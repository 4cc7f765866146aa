"""The compiled operations give the bits of their definition, on ordinary and on hostile numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_npu_cli.engines.npu import numerics
from whisper_npu_cli.engines.npu.spec import EPILOGUES, SPLITS
from whisper_npu_cli.engines.npu.standin import fast

seeds = st.integers(0, 2**32 - 1)


def normal(seed: int, rows: int, cols: int, scale: float = 1.0) -> numerics.Matrix:
    matrix = np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)
    return matrix * np.float32(scale)


def bf16(seed: int, rows: int, cols: int, scale: float = 1.0) -> numerics.Matrix:
    return numerics.round_bf16(normal(seed, rows, cols, scale))


def assert_same_bits(one: numerics.Matrix, other: numerics.Matrix) -> None:
    assert np.array_equal(one.view(np.uint32), other.view(np.uint32))


@settings(max_examples=5, deadline=None)
@given(seeds, st.sampled_from(sorted(EPILOGUES)), st.sampled_from([0.01, 1.0, 30.0]))
def test_gemm(seed: int, epilogue: str, scale: float) -> None:
    a, weights = bf16(seed, 70, 128, scale), bf16(seed + 1, 128, 192)
    residual = normal(seed + 2, 70, 192) if EPILOGUES[epilogue].residual else None
    arguments = a, weights, normal(seed + 3, 1, 192)[0], epilogue, residual
    assert_same_bits(fast.gemm(*arguments), numerics.gemm(*arguments))


@settings(max_examples=5, deadline=None)
@given(seeds, st.sampled_from([60, 64, 188]), st.sampled_from([0.1, 1.0, 20.0]))
def test_attention(seed: int, valid: int, scale: float) -> None:
    q = bf16(seed, 70, 64, scale)
    k, v = (bf16(seed + i, -(-valid // 64) * 64, 64, scale) for i in (1, 2))
    assert_same_bits(fast.attention(q, k, v, valid), numerics.attention(q, k, v, valid))


@settings(max_examples=5, deadline=None)
@given(seeds, st.sampled_from([64, 128, 256]), st.sampled_from([1e-6, 1.0, 1e4]))
def test_layernorm(seed: int, valid: int, scale: float) -> None:
    x = normal(seed, 33, 256, scale) + np.float32(scale)
    assert_same_bits(fast.layernorm(x, valid), numerics.layernorm(x, valid))


@settings(max_examples=5, deadline=None)
@given(seeds, st.sampled_from([32, 416]), st.sampled_from([1e-6, 1.0, 1e4]))
def test_spectrum(seed: int, k: int, scale: float) -> None:
    samples, weights = normal(seed, 24, 160, scale), bf16(seed + 1, SPLITS * k, 128)
    arguments = samples, weights, normal(seed + 2, 1, 128)[0], 21
    assert_same_bits(fast.spectrum(*arguments), numerics.spectrum(*arguments))


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-40, 1e18, -1e18, 1.0])
def test_hostile_numbers(value: float) -> None:
    x = np.full((4, 64), value, np.float32)
    assert_same_bits(fast.layernorm(x, 64), numerics.layernorm(x, 64))
    a, weights = numerics.round_bf16(x), bf16(1, 64, 64)
    bias = np.zeros(64, np.float32)
    with np.errstate(all="ignore"):
        expected = numerics.gemm(a, weights, bias, "gelu")
    assert_same_bits(fast.gemm(a, weights, bias, "gelu"), expected)


def test_gelu_over_its_whole_range() -> None:
    x = np.linspace(-16, 16, 64 * 4096, dtype=np.float32).reshape(-1, 64)
    compiled = x.copy()
    fast._gelu_rows(compiled)
    assert_same_bits(compiled, numerics.gelu(x))
