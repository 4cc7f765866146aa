"""Tensors in files, read when asked for: where each lies, and how its bytes become fp32.

Knows nothing of Whisper, nor of how a file tells where its tensors are.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.errors import CheckpointError

GET_AGAIN = "copy or download the file again"


@dataclass(frozen=True)
class Dtype:
    """A type of numbers in files: `item` is one number, or a block of `n_values`.

    `widen` takes items (n,) and returns their numbers in order as fp32.
    """

    item: np.dtype[Any]
    widen: Callable[[NDArray[Any]], NDArray[np.float32]]
    n_values: int = 1


def _cast(items: NDArray[Any]) -> NDArray[np.float32]:
    return items.astype(np.float32, copy=False)


def _widen_bf16(items: NDArray[Any]) -> NDArray[np.float32]:
    # NumPy has no bf16. The bits of a bf16 number are the upper half of the same number in fp32.
    return (items.astype(np.uint32) << 16).view(np.float32)


def _unpack_nibbles(blocks: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (n, 32) numbers of 4 bits: the low halves of 16 bytes, then the high halves.

    Blocks with a field `high` have a fifth bit of each number there, the first number's lowest.
    """
    numbers = np.concatenate([blocks["q"] & 15, blocks["q"] >> 4], axis=-1)
    if "high" in (blocks.dtype.names or ()):
        numbers |= np.unpackbits(blocks["high"], axis=-1, bitorder="little") << 4
    return numbers


def _widen_symmetric(middle: int) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Return the widening of blocks whose number `middle` is 0."""

    def widen(blocks: NDArray[Any]) -> NDArray[np.float32]:
        numbers = _unpack_nibbles(blocks).astype(np.float32)
        numbers -= middle
        numbers *= blocks["d"].astype(np.float32)[:, None]
        return numbers

    return widen


def _widen_from_minimum(blocks: NDArray[Any]) -> NDArray[np.float32]:
    numbers = _unpack_nibbles(blocks).astype(np.float32)
    numbers *= blocks["d"].astype(np.float32)[:, None]
    numbers += blocks["m"].astype(np.float32)[:, None]
    return numbers


def _widen_q8(blocks: NDArray[Any]) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = blocks["q"].astype(np.float32)
    numbers *= blocks["d"].astype(np.float32)[:, None]
    return numbers


def _block(*fields: tuple[str, Any] | tuple[str, Any, int]) -> np.dtype[Any]:
    return np.dtype(list(fields))


_SCALE, _MINIMUM = ("d", "<f2"), ("m", "<f2")
_NIBBLES, _FIFTH_BITS = ("q", "u1", 16), ("high", "u1", 4)
DTYPES = {
    "F32": Dtype(np.dtype("<f4"), _cast),
    "F16": Dtype(np.dtype("<f2"), _cast),
    "BF16": Dtype(np.dtype("<u2"), _widen_bf16),
    "int8": Dtype(np.dtype("i1"), _cast),
    "int16": Dtype(np.dtype("<i2"), _cast),
    # ggml's (github.com/ggml-org/ggml, src/ggml-common.h, dequantize_row_* in ggml-quants.c)
    "Q4_0": Dtype(_block(_SCALE, _NIBBLES), _widen_symmetric(8), 32),
    "Q4_1": Dtype(_block(_SCALE, _MINIMUM, _NIBBLES), _widen_from_minimum, 32),
    "Q5_0": Dtype(_block(_SCALE, _FIFTH_BITS, _NIBBLES), _widen_symmetric(16), 32),
    "Q5_1": Dtype(_block(_SCALE, _MINIMUM, _FIFTH_BITS, _NIBBLES), _widen_from_minimum, 32),
    "Q8_0": Dtype(_block(_SCALE, ("q", "i1", 32)), _widen_q8, 32),
}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: `offset` in bytes from the beginning of `path`.

    `dtype` is a key of DTYPES, or another type, which `read` cannot read. The numbers are to be
    divided by `scale` where there is one: a number for each row, or one for all.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    scale: StoredTensor | None = None

    @property
    def n_items(self) -> int:
        """Numbers or whole blocks of them; ValueError where a row is no multiple of a block."""
        n_values = DTYPES[self.dtype].n_values
        if n_values > 1 and (not self.shape or self.shape[-1] % n_values):
            raise ValueError(f"rows of {self.shape[-1:]} numbers in blocks of {n_values}")
        return math.prod(self.shape) // n_values

    @property
    def n_bytes(self) -> int:
        """Bytes in the file, without the scale."""
        return self.n_items * DTYPES[self.dtype].item.itemsize

    def rows(self, begin: int, end: int) -> StoredTensor:
        """Return a part of a tensor: its rows from `begin` to `end`."""
        n_row_bytes = self.n_bytes // self.shape[0]
        scale = self.scale.rows(begin, end) if self.scale and self.scale.shape else self.scale
        return replace(
            self,
            shape=(end - begin, *self.shape[1:]),
            offset=self.offset + begin * n_row_bytes,
            scale=scale,
        )

    def read(self) -> NDArray[np.float32]:
        """Return the tensor as fp32: a view of the file where that stores fp32, else a copy.

        Each call maps the file anew, so its pages leave memory with the last reference. The array
        is writable, because OpenVINO shares no other memory, but mode "c" (copy on write) keeps
        what is written out of the file. It is aligned, for which fp32 that lies at an odd offset
        is copied: compiled code is made for aligned arrays.
        """
        dtype = DTYPES[self.dtype]
        items = self._map(dtype.item)
        with np.errstate(all="ignore"):  # a scale that is damaged may be 0 or infinite
            values = dtype.widen(items).reshape(self.shape)
            if self.scale:
                values /= self.scale.read().reshape(-1, *[1] * (values.ndim - 1))
        return np.require(values, np.float32, "A")

    def _map(self, item: np.dtype[Any]) -> NDArray[Any]:
        """Return what is in the file, which is read where its file system maps none."""
        try:
            return np.memmap(self.path, item, "c", self.offset, self.n_items).view(np.ndarray)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        return np.fromfile(self.path, item, self.n_items, offset=self.offset)


class StoredTensors(Mapping[str, NDArray[np.float32]]):
    """Tensors by name, read from their files when asked for."""

    def __init__(self, stored: dict[str, StoredTensor]) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self._stored[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def paths(self) -> list[Path]:
        """The files that have the tensors."""
        return sorted({tensor.path.resolve() for tensor in self._stored.values()})

    @property
    def identity(self) -> str:
        """A key that changes when any weight changes: paths, sizes and times of the files.

        A program can set back the time of modification, but not the time of change (ctime).
        """
        stats = [(str(path), path.stat()) for path in self.paths]
        return repr([(p, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for p, s in stats])


def select_tensors(
    path: Path, stored: Mapping[str, StoredTensor], shapes: Mapping[str, tuple[int, ...]]
) -> StoredTensors:
    """Return the tensors that `shapes` names; CheckpointError unless all have shape and dtype.

    `path` is what errors name as the place of a missing tensor.
    """
    for name, shape in shapes.items():
        if name not in stored:
            raise CheckpointError(f"{path}: missing tensor {name}, expected shape {shape}")
        tensor = stored[name]
        if tensor.shape != shape:
            raise CheckpointError(
                f"{tensor.path}: tensor {name}: expected shape {shape},"
                f" found {shorten(tensor.shape)}"
            )
        if tensor.dtype not in DTYPES:
            raise CheckpointError(
                f"{tensor.path}: tensor {name}: expected dtype F32, F16, BF16,"
                f" found {tensor.dtype:.40}"
            )
    return StoredTensors({name: stored[name] for name in shapes})
