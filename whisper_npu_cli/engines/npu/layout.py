"""Between ordinary arrays and the overlay's device layouts: pure, exact, at memory speed.

The layouts are defined in `spec.py`. Every block row of a tile is 16 bytes (layouts `a` and
`c`) or 8 bytes (`weights`, `qkv`) long, so whole rows are moved as single elements. That makes
8 GB/s; moving single numbers makes 2.3, a plain copy 9 (bytes read and written, one Zen 3 core,
38 MB).
bf16 is held in uint16.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from whisper_npu_cli.engines.base import from_bf16
from whisper_npu_cli.engines.npu.spec import A_BLOCK, B_BLOCK, C_BLOCK, TILE

F32 = NDArray[np.float32]
U16 = NDArray[np.uint16]
Number = TypeVar("Number", np.float32, np.uint16)

CARRIERS = {16: np.complex128, 8: np.float64}  # types of 16 and 8 bytes: moved, never computed with


def round_up(size: int, multiple: int) -> int:
    """Return the least multiple of `multiple` that is not below `size`."""
    return -(-size // multiple) * multiple


def pad(matrix: NDArray[Number], rows: int, cols: int) -> NDArray[Number]:
    """Extend a matrix with zeros on the right and below to (rows, cols)."""
    padded = np.zeros((rows, cols), matrix.dtype)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    return padded


def to_bf16(values: F32) -> U16:
    """Round fp32 to bf16, to nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    nan = np.isnan(values)
    if nan.any():  # the carry may have turned a NaN into a zero
        rounded[nan] = 0x7FC0
    return rounded


def split_bf16(values: F32) -> tuple[U16, U16]:
    """Split fp32 into high and low bf16 parts, whose sum keeps 16 bits of the mantissa."""
    high = to_bf16(values)
    return high, to_bf16(values - from_bf16(high))


def pack_a(matrix: U16) -> U16:
    """Lay (rows, cols) bf16 of whole tiles out as `a`."""
    return _pack(matrix, A_BLOCK)


def unpack_a(packed: U16) -> U16:
    """Restore (rows, cols) bf16 from layout `a`."""
    return _unpack(packed, A_BLOCK)


def pack_c(matrix: F32) -> F32:
    """Lay (rows, cols) fp32 of whole tiles out as `c`."""
    return _pack(matrix, C_BLOCK)


def unpack_c(packed: F32) -> F32:
    """Restore (rows, cols) fp32 from layout `c`."""
    return _unpack(packed, C_BLOCK)


def pack_weights(weights: U16, bias: F32) -> U16:
    """Lay weights (K, N) bf16 with their bias (N,) out as `weights`: (K + TILE, N)."""
    k, n = weights.shape
    columns = np.zeros((n // TILE, k // TILE + 1, TILE * TILE), np.uint16)
    columns[:, 0, : 2 * TILE] = (
        np.ascontiguousarray(bias, np.float32).view(np.uint16).reshape(n // TILE, 2 * TILE)
    )
    tiles = _pack(weights, B_BLOCK).reshape(k // TILE, n // TILE, TILE * TILE)
    columns[:, 1:] = tiles.transpose(1, 0, 2)
    return columns.reshape(k + TILE, n)


def unpack_weights(packed: U16) -> tuple[U16, F32]:
    """Restore weights (K, N) bf16 and bias (N,) fp32 from layout `weights`."""
    rows, n = packed.shape
    columns = packed.reshape(n // TILE, rows // TILE, TILE * TILE)
    bias = np.ascontiguousarray(columns[:, 0, : 2 * TILE]).view(np.float32).reshape(n)
    tiles = np.ascontiguousarray(columns[:, 1:].transpose(1, 0, 2))
    return _unpack(tiles.reshape(rows - TILE, n), B_BLOCK), bias


def pack_qkv(queries: U16, keys: U16, values: U16) -> U16:
    """Lay three matrices (positions, heads * TILE) bf16 out as `qkv`, one below the other."""
    packed = np.empty((len(queries) + 2 * len(keys), keys.shape[1]), np.uint16)
    packed[: len(queries)] = pack_a(queries)
    _store_half(packed[len(queries) :], keys, keys=True)
    _store_half(packed[len(queries) :], values, keys=False)
    return packed


def _store_half(packed: U16, matrix: U16, *, keys: bool) -> None:
    """Write keys or values (positions, heads * TILE) bf16 into their tiles."""
    n, cols = matrix.shape
    square = matrix.reshape(n // TILE, TILE, cols // TILE, TILE).transpose(2, 0, 1, 3)
    square = square.swapaxes(2, 3) if keys else square
    half = _pack(square.reshape(-1, TILE), B_BLOCK).reshape(square.shape)
    _view_kv(packed)[:, :, 0 if keys else 1] = half


def unpack_qkv(packed: U16, n_queries: int) -> tuple[U16, U16, U16]:
    """Restore queries, keys and values (positions, heads * TILE) bf16 from layout `qkv`."""
    rows, cols = packed[n_queries:].shape
    keys, values = np.moveaxis(_view_kv(packed[n_queries:]), 2, 0)
    halves = []
    for tiles, transposed in ((keys, True), (values, False)):
        plain = _unpack(np.ascontiguousarray(tiles).reshape(-1, TILE), B_BLOCK)
        square = plain.reshape(cols // TILE, rows // (2 * TILE), TILE, TILE)
        square = square.swapaxes(2, 3) if transposed else square
        halves.append(square.transpose(1, 2, 0, 3).reshape(rows // 2, cols))
    return unpack_a(packed[:n_queries]), halves[0], halves[1]


def _view_kv(packed: U16) -> U16:
    """View keys and values of `qkv` as (heads, position tiles, 2, TILE, TILE), keys first."""
    rows, cols = packed.shape
    return packed.reshape(cols // TILE, rows // (2 * TILE), 2, TILE, TILE)


def im2col(signal: U16, size: int) -> U16:
    """Return every stretch of `size` rows of signal (rows, channels), flattened to a row each."""
    patches = sliding_window_view(signal, size, axis=0)  # (n, channels, size)
    return np.ascontiguousarray(patches.transpose(0, 2, 1)).reshape(len(patches), -1)


def _pack(matrix: NDArray[Number], block: tuple[int, int]) -> NDArray[Number]:
    """Lay a matrix out tile by tile; tiles and the blocks in them go by rows."""
    rows, cols = matrix.shape
    height, width = block
    moved: NDArray[Any] = np.ascontiguousarray(matrix).view(CARRIERS[width * matrix.itemsize])
    blocks = moved.reshape(rows // TILE, TILE // height, height, cols // TILE, TILE // width)
    packed = np.ascontiguousarray(blocks.transpose(0, 3, 1, 4, 2))
    return packed.view(matrix.dtype).reshape(rows, cols)


def _unpack(packed: NDArray[Number], block: tuple[int, int]) -> NDArray[Number]:
    """Undo `_pack`."""
    rows, cols = packed.shape
    height, width = block
    moved: NDArray[Any] = packed.reshape(-1).view(CARRIERS[width * packed.itemsize])
    blocks = moved.reshape(rows // TILE, cols // TILE, TILE // height, TILE // width, height)
    plain = np.ascontiguousarray(blocks.transpose(0, 2, 4, 1, 3))
    return plain.view(packed.dtype).reshape(rows, cols)


def copy_a(packed: U16, first_col: int, out: U16) -> None:
    """Copy columns from `first_col` on out of layout `a` into `out` (rows, cols), in one pass.

    `first_col` and cols are whole tiles, rows whole blocks.
    """
    rows, cols = out.shape
    height, width = A_BLOCK
    shape = packed.shape[0] // TILE, packed.shape[1] // TILE, TILE // height, TILE // width, height
    tiles: NDArray[Any] = packed.reshape(-1).view(CARRIERS[16]).reshape(shape)
    tiles = tiles[:, first_col // TILE : (first_col + cols) // TILE].transpose(0, 2, 4, 1, 3)
    target: NDArray[Any] = out.view(CARRIERS[16])
    whole, rest = divmod(rows, TILE)
    inner = TILE // height, height, cols // TILE, TILE // width
    target[: whole * TILE].reshape(whole, *inner)[:] = tiles[:whole]
    if rest:
        inner = rest // height, *inner[1:]
        target[whole * TILE :].reshape(inner)[:] = tiles[whole, : rest // height]
