"""safetensors files, memory-mapped one tensor at a time.

A file is: 8 bytes of header length (little endian), the header as JSON (name -> dtype, shape,
byte range), then the data (github.com/huggingface/safetensors, README, "Format"). The library
of that name has no bf16 in NumPy and cannot tell how a file is damaged, so the header is read
here. Knows nothing of Whisper.
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

# NumPy has no bf16: its bits are the upper half of fp32's.
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_PULL_AGAIN = "copy or download the file again"


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: `offset` in bytes from the beginning of `path`."""

    path: Path
    dtype: str  # as in the header: "F32", "F16", "BF16", or one that is not for weights
    shape: tuple[int, ...]
    offset: int

    def read(self) -> NDArray[np.float32]:
        """Return the tensor as fp32: a view of the file where it is fp32, else a copy.

        Each call maps the file anew, so its pages leave memory with the last reference. Mode "c"
        keeps writes out of the file; OpenVINO shares memory only where writing is allowed.
        """
        mapped = np.memmap(self.path, DTYPES[self.dtype], "c", self.offset, self.shape)
        if self.dtype == "BF16":
            return (mapped.astype(np.uint32) << 16).view(np.ndarray).view(np.float32)
        return mapped.view(np.ndarray).astype(np.float32, copy=False)


class StoredTensors(Mapping[str, NDArray[np.float32]]):
    """Tensors by name, read from their files when asked for."""

    def __init__(self, stored: dict[str, StoredTensor]) -> None:
        self.stored = stored

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self.stored[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def identity(self) -> str:
        """Path, size and times of the files. No program sets the time of change (ctime)."""
        paths = {tensor.path.resolve() for tensor in self.stored.values()}
        stats = [(str(path), path.stat()) for path in sorted(paths)]
        return repr([(p, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for p, s in stats])


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return what `path` stores; CheckpointError where the file is damaged or truncated."""
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
            hint=_PULL_AGAIN,
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
            hint=_PULL_AGAIN,
        ) from error
    if size < 8 + n_header + end:
        raise CheckpointError(
            f"{path}: truncated: expected {8 + n_header + end} bytes, found {size}",
            hint=_PULL_AGAIN,
        )
    return tensors


def _place(path: Path, data_at: int, entry: Mapping[str, Any]) -> StoredTensor:
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if any(type(number) is not int or number < 0 for number in (begin, end, *shape)):
        raise ValueError(f"shape {shape} and byte range {begin} to {end}")
    tensor = StoredTensor(path, str(entry["dtype"]), shape, data_at + begin)
    if tensor.dtype in DTYPES:
        n_bytes = math.prod(shape) * DTYPES[tensor.dtype].itemsize
        if end - begin != n_bytes:
            raise ValueError(f"{tensor.dtype} of shape {shape} in {end - begin} bytes")
    return tensor


def write_tensors(path: Path, tensors: Mapping[str, NDArray[np.float32]], dtype: str) -> None:
    """Write fp32 `tensors` to `path` as `dtype` ("F32", "F16", "BF16"), one at a time."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers asks for it
    end = 0
    for name, values in tensors.items():
        begin, end = end, end + values.size * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": values.shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the data begins at a multiple of 8 bytes
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for values in tensors.values():
            file.write(_narrow(values, dtype).tobytes())


def _narrow(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    if dtype != "BF16":
        return values.astype(DTYPES[dtype])
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # nearest, ties to even


def read_index(path: Path) -> dict[str, StoredTensor]:
    """Return what the shards named by an index (`model.safetensors.index.json`) store."""
    try:
        shards = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: damaged index: expected JSON with a weight_map ({error!r})", hint=_PULL_AGAIN
        ) from error
    tensors: dict[str, StoredTensor] = {}
    for shard in shards:
        if not (path.parent / shard).is_file():
            raise CheckpointError(
                f"{path.parent}: the index names {shard}, which is missing", hint=_PULL_AGAIN
            )
        tensors |= read_header(path.parent / shard)
    return tensors
