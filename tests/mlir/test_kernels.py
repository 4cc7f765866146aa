"""The kernels, compiled by g++, held to NumPy: bit for bit to their definition, and to float64."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.special import log_ndtr

from mlir.host.library import MLIR, KernelLibrary, load
from mlir.simulate.pools import allocate
from whisper_npu_cli.engines.base import from_bf16
from whisper_npu_cli.engines.npu import layout, numerics
from whisper_npu_cli.engines.npu.spec import TILE
from whisper_npu_cli.errors import OverlayError

F32 = np.float32
LARGEST = np.finfo(F32).max
LARGEST_BF16 = float(from_bf16(np.array([0x7F7F], np.uint16))[0])
ADVERSARIAL = {
    "normal": lambda r: r.standard_normal((TILE, TILE)),
    "denormal": lambda r: r.standard_normal((TILE, TILE)) * 1e-39,
    "infinite": lambda r: np.where(r.random((TILE, TILE)) < 0.01, np.inf, 1.0),
    "nan": lambda r: np.where(r.random((TILE, TILE)) < 0.01, np.nan, 1.0),
    "largest": lambda r: np.where(r.random((TILE, TILE)) < 0.5, LARGEST_BF16, -LARGEST_BF16),
    "equal": lambda _: np.full((TILE, TILE), 3.14159),
    "zero": lambda _: np.zeros((TILE, TILE)),
    "wide": lambda r: np.exp(r.uniform(-80, 80, (TILE, TILE))) * r.choice([-1, 1], (TILE, TILE)),
}

pytestmark = pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")


@pytest.fixture(scope="module")
def kernels() -> KernelLibrary:
    return load()


@pytest.fixture(params=sorted(ADVERSARIAL))
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def matrix(case: str, seed: int, *, bf16: bool = True) -> np.ndarray:
    values = ADVERSARIAL[case](np.random.default_rng(seed)).astype(F32)
    return numerics.round_bf16(values) if bf16 else values


def aligned(size_bytes: int, dtype: type) -> np.ndarray:
    return allocate(size_bytes).view(dtype)


def place(values: np.ndarray) -> np.ndarray:
    out = aligned(values.nbytes, values.dtype.type)
    out[:] = values.reshape(-1)
    return out


def as_a(values: np.ndarray) -> np.ndarray:
    return place(layout.pack_a(layout.to_bf16(values)))


def as_b(values: np.ndarray) -> np.ndarray:
    packed = layout.pack_weights(layout.to_bf16(values), np.zeros(TILE, F32))
    return place(packed.reshape(-1)[TILE * TILE :])


def as_c(values: np.ndarray) -> np.ndarray:
    return place(layout.pack_c(np.ascontiguousarray(values, F32)))


def from_a(packed: np.ndarray) -> np.ndarray:
    return from_bf16(layout.unpack_a(packed.reshape(TILE, TILE)))


def from_c(packed: np.ndarray) -> np.ndarray:
    return layout.unpack_c(packed.reshape(TILE, TILE))


def assert_same_bits(found: np.ndarray, wanted: np.ndarray) -> None:
    """Equal bits; any NaN equals any NaN."""
    both_nan = np.isnan(found) & np.isnan(wanted)
    same = found.view(np.uint32) == np.ascontiguousarray(wanted).view(np.uint32)
    assert (same | both_nan).all()


@pytest.mark.parametrize("mode", range(4))
def test_rounding_modes_are_exact(kernels: KernelLibrary, mode: int) -> None:
    bits = np.arange(0, 2**32, 1_000_003, dtype=np.uint64).astype(np.uint32)
    values = np.concatenate([bits.view(F32), F32([0, -0.0, np.inf, -np.inf, LARGEST, -LARGEST])])
    values = values[~np.isnan(values)]
    found = np.array([kernels.round_bf16(float(value), mode) for value in values], np.uint16)
    bits = values.view(np.uint32).astype(np.int64)
    below, rest = bits >> 16, bits & 0xFFFF
    up = {
        0: np.zeros_like(rest, bool),  # floor: AIE2 drops the low bits
        1: (rest > 0) & (bits < 2**31),  # towards positive infinity
        2: rest >= 0x8000,  # nearest, ties away from zero
        3: (rest > 0x8000) | ((rest == 0x8000) & (below & 1 == 1)),  # nearest, ties to even
    }[mode]
    assert np.array_equal(found, (below + (up & ~np.isinf(values))).astype(np.uint16))


def test_gemm_bits(kernels: KernelLibrary, case: str) -> None:
    a, b = matrix(case, 1), matrix("normal", 2)
    bias = aligned(TILE * TILE * 2, F32)
    bias[:TILE] = np.random.default_rng(3).standard_normal(TILE)
    c = aligned(TILE * TILE * 4, F32)
    kernels.call("start_tile", bias, c)
    kernels.call("multiply_tile", as_a(a), as_b(b), c)
    assert_same_bits(from_c(c), numerics.gemm(a, b, bias[:TILE], "f32"))


def test_gemm_of_bf16_inputs_against_float64(kernels: KernelLibrary) -> None:
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((TILE, 512)), rng.standard_normal((512, TILE))
    c = aligned(TILE * TILE * 4, F32)
    for k in range(0, 512, TILE):
        left, right = a[:, k : k + TILE].astype(F32), b[k : k + TILE].astype(F32)
        kernels.call("multiply_tile", as_a(left), as_b(right), c)
    exact = a @ b
    # two roundings to bf16, 2^-9 at most each and a third of it on average
    assert np.linalg.norm(from_c(c) - exact) / np.linalg.norm(exact) <= 4e-3


def test_operand_orders(kernels: KernelLibrary, case: str) -> None:
    values = matrix(case, 5, bf16=False)
    c, out = as_c(values), aligned(TILE * TILE * 2, np.uint16)
    rounded = numerics.round_bf16(values)
    parameters, stored = np.array([0, 2, 2], np.int32), []  # two tiles in each order
    for _ in range(6):
        kernels.call("store_operand", c, out, parameters)
        stored.append(out.copy())
    found = layout.unpack_qkv(np.concatenate(stored[::2]).reshape(3 * TILE, TILE), TILE)
    for part in found:
        assert_same_bits(from_bf16(part), rounded)
    for first, second in zip(stored[::2], stored[1::2], strict=True):
        assert np.array_equal(first, second)


def test_gelu_bits(kernels: KernelLibrary, case: str) -> None:
    values = matrix(case, 6, bf16=False)
    c = as_c(values)
    kernels.call("gelu_tile", c)
    assert_same_bits(from_c(c), numerics.gelu(values))


def test_gelu_bits_of_every_kind_of_number(kernels: KernelLibrary) -> None:
    """Comparisons are made on the bits: the edges of the pieces, zeros, infinities, any NaN."""
    edges = np.array([0, *numerics.GELU_EDGES, numerics.GELU_LIMIT, np.inf, LARGEST], F32)
    near = [edges, np.nextafter(edges, F32(0)), np.nextafter(edges, F32(np.inf))]
    kinds = np.concatenate([*near, *(-x for x in near), [1e-45, -1e-45]]).astype(F32)
    bits = np.arange(0, 2**32, 1_048_573, dtype=np.uint64).astype(np.uint32)
    values = np.concatenate([kinds, bits.view(F32)])[: TILE * TILE]
    values = np.pad(values, (0, TILE * TILE - len(values))).reshape(TILE, TILE)
    c = as_c(values)
    kernels.call("gelu_tile", c)
    assert_same_bits(from_c(c), numerics.gelu(values))


def test_gelu_within_one_ulp(kernels: KernelLibrary) -> None:
    values = np.linspace(-10, 10, 64 * TILE * TILE, dtype=F32).reshape(64, TILE, TILE)
    found = []
    for tile in values:
        c = as_c(tile)
        kernels.call("gelu_tile", c)
        found.append(from_c(c))
    exact = np.exp(log_ndtr(values.astype(np.float64))) * values
    ulp = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(exact), 2.0**-126))) - 7)
    assert (np.abs(np.array(found) - exact) / ulp).max() <= 1


def test_residual_and_fp32_store_keep_halves_apart(kernels: KernelLibrary) -> None:
    values, residual = matrix("normal", 7, bf16=False), matrix("wide", 8, bf16=False)
    c, packed = as_c(values), as_c(residual)
    out = aligned(TILE * TILE * 4, F32)
    half = TILE * TILE // 2
    for index in range(2):
        part = slice(index * half, (index + 1) * half)
        kernels.call("add_residual", packed[part], c, index)
        kernels.call("store_f32", c, out[part], index)
    assert_same_bits(from_c(out), values + residual)


def test_split_bits(kernels: KernelLibrary, case: str) -> None:
    samples = matrix(case, 40, bf16=False)[:, : TILE // 2]
    out = aligned(TILE * TILE * 2, np.uint16)
    kernels.call("split_tile", place(samples), out)
    high = numerics.round_bf16(samples)
    assert_same_bits(from_a(out), np.hstack([high, numerics.round_bf16(samples - high)]))


def test_power_bits(kernels: KernelLibrary, case: str) -> None:
    values = matrix(case, 41, bf16=False)
    out = aligned(TILE * TILE * 2, np.uint16)
    kernels.call("store_power", as_c(values), out)
    assert_same_bits(from_a(out), numerics.measure_power(values))


def attend(
    kernels: KernelLibrary, q: np.ndarray, k: np.ndarray, v: np.ndarray, valid: int
) -> np.ndarray:
    acc, state = aligned(TILE * TILE * 4, F32), aligned(3 * 256 * 4, F32)
    p, out = aligned(TILE * TILE * 2, np.uint16), aligned(TILE * TILE * 2, np.uint16)
    kernels.call("start_attention", acc, state)
    kernels.call("copy_tile", as_a(q), out)
    for start in range(0, len(k), TILE):
        stop = start + TILE
        keys = as_b(np.ascontiguousarray(k[start:stop].T))
        kernels.call("softmax_tile", out, keys, p, acc, state, min(TILE, valid - start))
        kernels.call("multiply_tile", p, as_b(v[start:stop]), acc)
    kernels.call("finish_attention", acc, state, out)
    return from_a(out)


# scores that are not finite have no order, so they have no softmax to agree on
@pytest.mark.parametrize("case", sorted(ADVERSARIAL.keys() - {"infinite", "nan"}))
@pytest.mark.parametrize("valid", [4, 64, 92, 128])
def test_attention_bits(kernels: KernelLibrary, case: str, valid: int) -> None:
    scale = F32(2**-68 if case in ("largest", "wide") else 1)  # so that scores are finite
    q, v = matrix(case, 9) * scale, matrix("normal", 10)
    k = np.concatenate([matrix("normal", 11), matrix(case, 12)]) * scale
    v = np.concatenate([v, matrix("wide", 13)])
    rows = slice(0, (valid + TILE - 1) // TILE * TILE)
    found = attend(kernels, q, k[rows], v[rows], valid)
    assert_same_bits(found, numerics.attention(q, k[rows], v[rows], valid))


@pytest.mark.parametrize("shift", [-40.0, -0.0, 0.0, 40.0])
def test_attention_bits_whatever_the_signs_of_scores(kernels: KernelLibrary, shift: float) -> None:
    """The maximum is taken on the bits: of negative scores alone, of zeros, of both signs."""
    q, k, v = (matrix("normal", seed) for seed in (20, 21, 22))
    q[:, 0], k[:, 0] = 1, shift
    q[::2, 1:], k[::3] = 0, k[0]
    assert_same_bits(attend(kernels, q, k, v, TILE), numerics.attention(q, k, v, TILE))


def test_attention_to_values_that_are_not_finite(kernels: KernelLibrary) -> None:
    q, k, v = matrix("equal", 9), matrix("normal", 11), matrix("nan", 12)
    found = attend(kernels, q, k, v, TILE)
    assert np.array_equal(np.isnan(found).any(axis=0), np.isnan(v).any(axis=0))


def test_attention_rows_within_1_2_percent(kernels: KernelLibrary) -> None:
    q, k = matrix("normal", 14), np.concatenate([matrix("normal", 15), matrix("normal", 16)])
    scores = q.astype(np.float64) @ k[:100].T
    p = 2 ** (scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    pick = np.zeros((128, TILE), F32)
    for first in (0, 64):  # with unit vectors for values, the output is the probabilities
        pick[:] = 0
        pick[first : first + TILE] = np.eye(TILE)
        found = attend(kernels, q, k, pick, 100)[:, : 100 - first]
        exact = p[:, first : first + found.shape[1]]
        # the power is within 0.6 %, its sum more nearly, and the result is rounded to bf16
        assert (np.abs(found - exact) / exact).max() < 1.2e-2


def share(tiles: Sequence[np.ndarray], unit: int) -> np.ndarray:
    """Return an element: 8 rows of four tiles, which lie in blocks of 4 x 4."""
    return place(np.concatenate([tile[unit * 512 : (unit + 1) * 512] for tile in tiles]))


def normalise(kernels: KernelLibrary, x: np.ndarray, column: int, *, twice: bool) -> np.ndarray:
    """Normalise a row of tiles as the core of `column` does; return every fourth of them."""
    groups = x.shape[1] // (4 * TILE)
    tiles = [as_c(x[:, at : at + TILE]) for at in range(0, x.shape[1], TILE)]
    rows = [tiles[4 * group : 4 * group + 4] for group in range(groups)]
    kept, sums = aligned(TILE * TILE * 4, F32), aligned(3 * 256 * 4, F32)
    inverse = int((F32(1) / F32(x.shape[1])).view(np.int32))
    p = np.array([0, 0, 0, 0, 0, 0, twice, groups, 4 * groups, inverse], np.int32)
    out = np.empty((groups, 8, TILE * TILE // 8), np.uint16)  # (groups, units, values)
    element = aligned(TILE * TILE * 2, np.uint16)
    if twice:
        for unit in range(8):
            for row in rows:
                kernels.call("add_rows", share(row, unit), kept, sums, p, column)
    for number in range(8 * groups):
        group, unit = (number // 8, number % 8) if twice else (0, number)
        if not twice and number == 8:
            break
        for row in [rows[group]] if twice else rows:
            kernels.call("add_rows", share(row, unit), kept, sums, p, column)
        kernels.call("finish_rows", sums, p)
        at = (unit if twice else unit * groups % 8) * 512
        kernels.call("normalise_rows", kept, sums, element, p)
        if twice:
            out[group, unit] = element[at : at + 512]
        else:
            out[:, unit] = element[at : at + groups * 512].reshape(groups, 512)
    assert not p[3:6].any()  # ready for the next rows
    return np.concatenate([from_a(np.ascontiguousarray(tile).reshape(-1)) for tile in out], axis=1)


def take_column(x: np.ndarray, column: int) -> np.ndarray:
    """Return every fourth tile from `column` on."""
    return np.ascontiguousarray(x.reshape(TILE, -1, 4, TILE)[:, :, column].reshape(TILE, -1))


@pytest.mark.parametrize("twice", [False, True])
def test_layernorm_bits(kernels: KernelLibrary, case: str, twice: bool) -> None:
    x = np.concatenate([matrix(case, seed, bf16=False) for seed in range(17, 25)], axis=1)
    for column in (0, 3):
        found = normalise(kernels, x, column, twice=twice)
        assert_same_bits(found, take_column(numerics.layernorm(x, 8 * TILE), column))


def test_layernorm_against_float64(kernels: KernelLibrary) -> None:
    x = np.concatenate([matrix("normal", seed, bf16=False) for seed in range(8)], axis=1) * 7 + 2
    exact = x.astype(np.float64) - x.mean(axis=1, keepdims=True, dtype=np.float64)
    exact /= np.sqrt((exact**2).mean(axis=1, keepdims=True) + 1e-5)
    found, exact = normalise(kernels, x, 1, twice=False), take_column(exact, 1)
    # rounding to bf16: 2^-9 at most, a third of it on average
    assert np.linalg.norm(found - exact) / np.linalg.norm(exact) < 2**-9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("kernels.call('gelu_tile', a[2:])", "epilogue.cc"),
        ("kernels.call('gelu_tile', a[:2048])", "outside of the buffers"),
        ("kernels.call('multiply_tile', a[:2047], b, c)", "gemm.cc"),
        ("kernels.call('gelu_tile', a[1:])", "misaligned"),
    ],
)
def test_a_wrong_access_ends_with_its_line(call: str, message: str) -> None:
    program = (
        "import numpy as np; from mlir.host.library import load; "
        "from mlir.simulate.pools import allocate; kernels = load(); "
        f"a, b, c = (allocate(16384).view(np.float32) for _ in range(3)); {call}"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode < 0  # by a signal
    assert message in ended.stderr
    assert ".cc:" in ended.stderr or ".hpp:" in ended.stderr


@pytest.mark.parametrize(
    ("expression", "compiles"),
    [
        ("aie::lt(bits_of(x), bits_of(x))", True),
        ("aie::lt(x, x)", False),
        ("aie::max(x, x)", False),
        ("aie::min(x, x)", False),
    ],
)
def test_what_is_emulated_without_need_does_not_compile(expression: str, compiles: bool) -> None:
    source = f'#include "tile.hpp"\nvoid f(const Block& x) {{ (void){expression}; }}\n'
    folders = [f"-I{MLIR / 'host'}", f"-I{MLIR / 'kernels'}"]
    command = ["g++", "-std=c++20", "-fsyntax-only", *folders, "-x", "c++", "-"]
    ended = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert (ended.returncode == 0) == compiles, ended.stderr


def test_without_a_compiler_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    load.cache_clear()
    with pytest.raises(OverlayError, match=r"g\+\+ not found") as refused:
        load()
    assert "apt install g++" in str(refused.value.hint)
