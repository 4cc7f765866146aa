"""The quantised decoder, stored on disk: quantised once, and read as it is kept in memory.

For whisper-base reading takes 0.05 s and quantising 0.75 (Zen 4). The file is the arrays of
`Weights` one after another in NumPy's format. It is read and not mapped: a step reads all of it,
and memory of the process may have large pages, which a file's have not.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.engines.numba_decoder import quantize
from whisper_npu_cli.engines.numba_decoder.arrays import Linear, Norm, Weights
from whisper_npu_cli.engines.numba_decoder.code import STAMP
from whisper_npu_cli.engines.stored import Shelf, check, mark_used, store, tell_damaged

SHELF = Shelf("decoder", ".int8")
_ALIGNMENT = 64  # bytes, of an array's first number


def load_quantized(checkpoint: Checkpoint) -> Weights:
    """Return a checkpoint's decoder with int8 weights, from disk where it is stored or can be."""
    path = SHELF.find_path(checkpoint, STAMP)
    if path is None:
        return quantize.quantize_decoder(checkpoint)
    mark_used(path)
    try:
        return _read(path)
    except OSError:  # not there yet, or not ours to read
        pass
    except ValueError:
        tell_damaged(path)
    weights = quantize.quantize_decoder(checkpoint)
    store(path, lambda file: _write(weights, file))
    return weights


def _write(weights: Weights, file: IO[bytes]) -> None:
    for part in weights:
        for array in part if isinstance(part, tuple) else (part,):
            if isinstance(array, np.ndarray):  # else it is whether GELU follows
                np.lib.format.write_array(file, array, allow_pickle=False)
                file.write(bytes(-file.tell() % _ALIGNMENT))


def _read(path: Path) -> Weights:
    arrays = _read_arrays(path)

    def take(name: str, kind: Any) -> Any:
        if kind is Norm:
            return Norm(next(arrays), next(arrays))
        if kind is Linear:
            weight, scale, bias, limit = islice(arrays, 4)
            return Linear(weight, scale, bias, limit, with_gelu=name == "fc1")
        return next(arrays)

    return Weights(**{name: take(name, kind) for name, kind in get_type_hints(Weights).items()})


def _read_arrays(path: Path) -> Iterator[NDArray[Any]]:
    """Yield the arrays of a file, which share its content; ValueError where it is damaged."""
    content = np.fromfile(path, np.uint8)
    header = io.BytesIO(check(content.data))
    while True:
        np.lib.format.read_magic(header)
        shape, _, dtype = np.lib.format.read_array_header_1_0(header)
        start = header.tell()
        end = start + int(np.prod(shape)) * dtype.itemsize
        yield content[start:end].view(dtype).reshape(shape)
        header.seek(end + -end % _ALIGNMENT)
