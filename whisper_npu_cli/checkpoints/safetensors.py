"""Files in the safetensors format: read by memory mapping, a tensor at a time, and written.

A file is 8 bytes with the length of the header (little endian), the header as JSON (name ->
dtype, shape, byte range), and the data (github.com/huggingface/safetensors, README, "Format").
The library `safetensors` does not give bf16 to NumPy and does not tell how a file is damaged, so
this module does without it. Knows nothing of Whisper.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.stored import DTYPES, GET_AGAIN, StoredTensor
from whisper_npu_cli.errors import CheckpointError

_MAX_HEADER_BYTES = 100_000_000  # the format's own limit


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors in `path` by name; CheckpointError where it is damaged or truncated."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            n_header = int.from_bytes(file.read(8), "little")
            header = file.read(min(n_header, size, _MAX_HEADER_BYTES))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if not 2 <= n_header == len(header):
        raise CheckpointError(
            f"{path}: damaged safetensors header: expected its length in the first 8 bytes,"
            f" found {n_header} in a file of {size} bytes",
            hint=GET_AGAIN,
        )
    try:
        fields = json.loads(header)
        fields.pop("__metadata__", None)
        tensors = {name: _place(path, 8 + n_header, entry) for name, entry in fields.items()}
        end = max((entry["data_offsets"][1] for entry in fields.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: damaged safetensors header: expected JSON with dtype, shape and byte range"
            f" of each tensor ({repr(error)[:200]})",
            hint=GET_AGAIN,
        ) from error
    if size < 8 + n_header + end:
        raise CheckpointError(
            f"{path}: truncated: expected {8 + n_header + end} bytes, found {size}",
            hint=GET_AGAIN,
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
    if tensor.dtype in DTYPES and end - begin != tensor.n_bytes:
        raise ValueError(f"{tensor.dtype} of shape {shape} in {end - begin} bytes")
    return tensor


def read_index(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors in all shards that an index (`model.safetensors.index.json`) names.

    Raises CheckpointError where the index or a shard is damaged or missing.
    """
    tensors: dict[str, StoredTensor] = {}
    shards, files = list_shards(path), list_files(path.parent)
    for shard in shards:
        if shard not in files:
            raise CheckpointError(
                f"{path.parent}: the index names {shard[:100]}, which is missing", hint=GET_AGAIN
            )
    for shard in shards:
        tensors |= read_header(path.parent / shard)
    return tensors


def list_files(folder: Path) -> set[str]:
    """Return the names of the files in a folder: an index names no others, least of all outside."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def list_shards(index: Path) -> list[str]:
    """Return the names of the files that an index names; CheckpointError where it is damaged."""
    try:
        return sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
    except OSError as error:
        raise CheckpointError(f"{index}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index}: damaged index: expected JSON with a weight_map ({repr(error)[:200]})",
            hint=GET_AGAIN,
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, NDArray[np.float32]], dtype: str) -> None:
    """Write fp32 `tensors` to `path` as `dtype` ("F32", "F16", "BF16"), one at a time."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers expects it
    end = 0
    for name, values in tensors.items():
        begin, end = end, end + values.size * DTYPES[dtype].item.itemsize
        header[name] = {"dtype": dtype, "shape": values.shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # so that the data is aligned to 8 bytes
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for values in tensors.values():
            file.write(_narrow(values, dtype).tobytes())


def _narrow(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    if dtype != "BF16":
        return values.astype(DTYPES[dtype].item)
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # to nearest even
