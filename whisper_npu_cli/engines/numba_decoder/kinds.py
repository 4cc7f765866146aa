"""The types of what kernels work on (`arrays.py`) for numba, which compiles before any is there."""

from __future__ import annotations

from typing import Any

from numba import types

from whisper_npu_cli.engines.numba_decoder.arrays import (
    Caches,
    Linear,
    Norm,
    Rounded,
    Scratch,
    Tasks,
    Weights,
)


def _arrays(kind: Any) -> dict[int, Any]:
    """Return the types of C-contiguous arrays by their number of axes."""
    return {n_axes: types.Array(kind, n_axes, "C") for n_axes in range(1, 6)}


def _tuple(kind: type, *fields: Any) -> Any:
    return types.BaseTuple.from_types(fields, kind)


I8, I16, I64, U16, F32 = map(
    _arrays, (types.int8, types.int16, types.int64, types.uint16, types.float32)
)
LINEAR = _tuple(Linear, I8[4], F32[2], F32[2], F32[1], types.boolean)
ROUNDED = _tuple(Rounded, I16[2], F32[1])
NORM = _tuple(Norm, F32[2], F32[2])
WEIGHTS = _tuple(
    Weights,
    *(LINEAR, F32[1], F32[2]),
    *(NORM, LINEAR, LINEAR, NORM, LINEAR, LINEAR, NORM, LINEAR, LINEAR, NORM),
)
CACHES = _tuple(Caches, F32[5], F32[5], I64[1], I64[2], types.int64, types.int64)
SCRATCH = _tuple(
    Scratch,
    *(F32[2],) * 6,
    *(I16[2], I16[2], F32[1]),
    *(F32[3], F32[3]),
    *(I16[3], F32[2]),
    *(I64[2], F32[3], I64[1]),
)
SHARED = types.CPointer(SCRATCH)  # it is large: tasks take where it lies
TASKS = types.BaseTuple.from_types((types.int64,) * len(Tasks._fields), Tasks)
