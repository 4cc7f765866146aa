"""Layouts against their definition in `spec.py`, index by index, and their inverses."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_npu_cli.engines.base import from_bf16
from whisper_npu_cli.engines.npu import layout, numerics
from whisper_npu_cli.engines.npu.spec import TILE

tiles = st.integers(1, 3)
seeds = st.integers(0, 2**32 - 1)


def bf16(seed: int, rows: int, cols: int) -> layout.U16:
    return np.random.default_rng(seed).integers(0, 2**16, (rows, cols), np.uint16)


def address(row: int, col: int, n_cols: int, height: int, width: int) -> int:
    """Where an element of a tile-linear matrix lies: spec.py, "Layouts of device memory"."""
    tile = row // TILE * (n_cols // TILE) + col // TILE
    r, c = row % TILE, col % TILE
    block = r // height * (TILE // width) + c // width
    return tile * TILE * TILE + block * height * width + r % height * width + c % width


@settings(max_examples=10, deadline=None)
@given(tiles, tiles, seeds)
def test_a_and_c_lie_as_defined_and_come_back(m: int, n: int, seed: int) -> None:
    matrix = bf16(seed, m * TILE, n * TILE)
    packed = layout.pack_a(matrix)
    rng = np.random.default_rng(seed)
    for row, col in rng.integers(0, (m * TILE, n * TILE), (50, 2)):
        assert packed.reshape(-1)[address(row, col, n * TILE, 4, 8)] == matrix[row, col]
    assert np.array_equal(layout.unpack_a(packed), matrix)
    wide = matrix.astype(np.float32)
    packed_c = layout.pack_c(wide)
    for row, col in rng.integers(0, (m * TILE, n * TILE), (50, 2)):
        assert packed_c.reshape(-1)[address(row, col, n * TILE, 4, 4)] == wide[row, col]
    assert np.array_equal(layout.unpack_c(packed_c), wide)


@settings(max_examples=10, deadline=None)
@given(tiles, tiles, seeds)
def test_weights_lie_column_by_column_behind_their_bias(k: int, n: int, seed: int) -> None:
    weights = bf16(seed, k * TILE, n * TILE)
    bias = np.random.default_rng(seed).random(n * TILE).astype(np.float32)
    packed = layout.pack_weights(weights, bias)
    flat = packed.reshape(n, k + 1, TILE * TILE)
    for row, col in np.random.default_rng(seed).integers(0, weights.shape, (50, 2)):
        tile = flat[col // TILE, 1 + row // TILE]
        assert tile[address(row % TILE, col % TILE, TILE, 8, 4)] == weights[row, col]
    assert np.array_equal(flat[0, 0, : 2 * TILE].view(np.float32), bias[:TILE])
    assert not flat[:, 0, 2 * TILE :].any()
    back, back_bias = layout.unpack_weights(packed)
    assert np.array_equal(back, weights)
    assert np.array_equal(back_bias, bias)


@settings(max_examples=10, deadline=None)
@given(tiles, tiles, seeds)
def test_qkv_holds_queries_before_transposed_keys_beside_values(
    positions: int, heads: int, seed: int
) -> None:
    keys, values = (bf16(seed ^ i, positions * TILE, heads * TILE) for i in range(2))
    queries = bf16(seed ^ 2, 2 * TILE, heads * TILE)
    packed = layout.pack_qkv(queries, keys, values)
    assert np.array_equal(packed[: 2 * TILE], layout.pack_a(queries))
    flat = packed[2 * TILE :].reshape(heads, positions, 2, TILE * TILE)
    for row, col in np.random.default_rng(seed).integers(0, keys.shape, (50, 2)):
        pair = flat[col // TILE, row // TILE]
        r, c = row % TILE, col % TILE
        assert pair[0, address(c, r, TILE, 8, 4)] == keys[row, col]
        assert pair[1, address(r, c, TILE, 8, 4)] == values[row, col]
    unpacked = layout.unpack_qkv(packed, 2 * TILE)
    for back, matrix in zip(unpacked, (queries, keys, values), strict=True):
        assert np.array_equal(back, matrix)


@settings(max_examples=10, deadline=None)
@given(tiles, tiles, st.integers(1, 40), seeds)
def test_columns_of_a_are_copied_without_their_padding(
    m: int, n: int, blocks: int, seed: int
) -> None:
    matrix = np.random.default_rng(seed).integers(0, 2**16, (m * TILE, 3 * TILE), np.uint16)
    rows = min(4 * blocks, m * TILE)
    out = np.empty((rows, n * TILE), np.uint16)
    first = (3 - n) * TILE
    layout.copy_a(layout.pack_a(matrix), first, out)
    assert np.array_equal(out, matrix[:rows, first : first + n * TILE])


@given(seeds)
def test_bf16_rounds_like_the_array(seed: int) -> None:
    bits = np.random.default_rng(seed).integers(0, 2**32, 1000, np.uint32)
    values = bits.view(np.float32)
    finite = values[~np.isnan(values)]
    assert np.array_equal(from_bf16(layout.to_bf16(finite)), numerics.round_bf16(finite))
    assert np.isnan(from_bf16(layout.to_bf16(values[np.isnan(values)]))).all()


@given(seeds)
def test_high_and_low_parts_keep_sixteen_bits(seed: int) -> None:
    values = np.random.default_rng(seed).uniform(-1, 1, 1000).astype(np.float32)
    high, low = map(from_bf16, layout.split_bf16(values))
    # the low part is rounded at half a unit of its 8 bits below the high part's 8
    assert (np.abs(high + low - values) <= np.abs(values) * 2.0**-16).all()


def test_im2col_takes_every_stretch_of_rows() -> None:
    signal = np.arange(20, dtype=np.uint16).reshape(10, 2)
    patches = layout.im2col(signal, 3)
    assert patches.tolist() == [[2 * i + j for j in range(6)] for i in range(8)]
