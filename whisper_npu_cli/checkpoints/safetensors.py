"""Files in the safetensors format: read by memory mapping, a tensor at a time, and written.

A file is 8 bytes with the length of the header (little endian), the header as JSON (name ->
dtype, shape, byte range), and the data (github.com/huggingface/safetensors, README, "Format").
The library `safetensors` does not give bf16 to NumPy and does not tell how a file is damaged, so
this module does without it. Knows nothing of Whisper.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.errors import CheckpointError

# NumPy has no bf16. The bits of a bf16 number are the upper half of the same number in fp32.
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_GET_AGAIN = "copy or download the file again"


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: `offset` in bytes from the beginning of `path`.

    `dtype` is the header's word: a key of DTYPES, or another type, which `read` cannot read.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def read(self) -> NDArray[np.float32]:
        """Return the tensor as fp32: a view of the file where that stores fp32, else a copy.

        Each call maps the file anew, so its pages leave memory with the last reference. The array
        is writable, because OpenVINO shares no other memory, but mode "c" (copy on write) keeps
        what is written out of the file.
        """
        mapped = np.memmap(self.path, DTYPES[self.dtype], "c", self.offset, self.shape)
        if self.dtype == "BF16":
            return (mapped.astype(np.uint32) << 16).view(np.ndarray).view(np.float32)
        return mapped.view(np.ndarray).astype(np.float32, copy=False)


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
    def identity(self) -> str:
        """A key that changes when any weight changes: paths, sizes and times of the files.

        A program can set back the time of modification, but not the time of change (ctime).
        """
        paths = {tensor.path.resolve() for tensor in self._stored.values()}
        stats = [(str(path), path.stat()) for path in sorted(paths)]
        return repr([(p, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for p, s in stats])


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors in `path` by name; CheckpointError where it is damaged or truncated."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            n_header = int.from_bytes(file.read(8), "little")
            header = file.read(min(n_header, _MAX_HEADER_BYTES))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if not 2 <= n_header == len(header):
        raise CheckpointError(
            f"{path}: damaged safetensors header: expected its length in the first 8 bytes,"
            f" found {n_header} in a file of {size} bytes",
            hint=_GET_AGAIN,
        )
    try:
        fields = json.loads(header)
        fields.pop("__metadata__", None)
        tensors = {name: _place(path, 8 + n_header, entry) for name, entry in fields.items()}
        end = max((entry["data_offsets"][1] for entry in fields.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: damaged safetensors header: expected JSON with dtype, shape and byte range"
            f" of each tensor ({error!r})",
            hint=_GET_AGAIN,
        ) from error
    if size < 8 + n_header + end:
        raise CheckpointError(
            f"{path}: truncated: expected {8 + n_header + end} bytes, found {size}",
            hint=_GET_AGAIN,
        )
    return tensors


def _place(path: Path, data_offset: int, entry: Mapping[str, Any]) -> StoredTensor:
    """Return where a header's `entry` says that a tensor lies; ValueError where that cannot be.

    The data of all tensors begins `data_offset` bytes from the beginning of the file.
    """
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if any(type(number) is not int or number < 0 for number in (begin, end, *shape)):
        raise ValueError(f"shape {shape} and byte range {begin} to {end}")
    tensor = StoredTensor(path, str(entry["dtype"]), shape, data_offset + begin)
    if tensor.dtype in DTYPES:
        n_bytes = math.prod(shape) * DTYPES[tensor.dtype].itemsize
        if end - begin != n_bytes:
            raise ValueError(f"{tensor.dtype} of shape {shape} in {end - begin} bytes")
    return tensor


def read_index(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors in all shards that an index (`model.safetensors.index.json`) names.

    Raises CheckpointError where the index or a shard is damaged or missing.
    """
    tensors: dict[str, StoredTensor] = {}
    for shard in list_shards(path):
        if not (path.parent / shard).is_file():
            raise CheckpointError(
                f"{path.parent}: the index names {shard}, which is missing", hint=_GET_AGAIN
            )
        tensors |= read_header(path.parent / shard)
    return tensors


def list_shards(index: Path) -> list[str]:
    """Return the names of the files that an index names; CheckpointError where it is damaged."""
    try:
        return sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
    except OSError as error:
        raise CheckpointError(f"{index}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{index}: damaged index: expected JSON with a weight_map ({error!r})", hint=_GET_AGAIN
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, NDArray[np.float32]], dtype: str) -> None:
    """Write fp32 `tensors` to `path` as `dtype` ("F32", "F16", "BF16"), one at a time."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers expects it
    end = 0
    for name, values in tensors.items():
        begin, end = end, end + values.size * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": values.shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # so that the data is aligned to 8 bytes
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for values in tensors.values():
            file.write(_narrow(values, dtype).tobytes())


def _narrow(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    if dtype != "BF16":
        return values.astype(DTYPES[dtype])
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # to nearest even
