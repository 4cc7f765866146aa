"""What instruction streams compute, on device images in the overlay's layouts.

The arithmetic is that of `numerics.py`, bit for bit what the kernels give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.engines.base import from_bf16
from whisper_npu_cli.engines.npu import layout
from whisper_npu_cli.engines.npu.spec import EPILOGUES, TILE, Argument, StreamSpec
from whisper_npu_cli.engines.npu.standin import fast
from whisper_npu_cli.engines.npu.standin.chip import Bytes
from whisper_npu_cli.engines.npu.timing_model import predict_stream_ms


class StreamOperator:
    """The operation of one instruction stream."""

    def __init__(self, spec: StreamSpec) -> None:
        self.spec = spec
        self.sizes = tuple(argument.size_bytes for argument in spec.arguments)
        self.written: tuple[int, ...] = (len(spec.arguments) - 1,)
        self.device_ms = predict_stream_ms(spec)
        self._compute = OPERATIONS[spec.op]

    def __call__(self, buffers: Sequence[Bytes]) -> None:
        """Read the arguments from their images and write the last one."""
        arrays = [
            _view_image(buffer, argument)
            for buffer, argument in zip(buffers, self.spec.arguments, strict=True)
        ]
        self._compute(self.spec, arrays)


def _view_image(buffer: Bytes, argument: Argument) -> NDArray[Any]:
    dtype = np.float32 if argument.dtype == "f32" else np.uint16
    return buffer[: argument.size_bytes].view(dtype).reshape(argument.shape)


def _gemm(spec: StreamSpec, arrays: Sequence[NDArray[Any]]) -> None:
    a, packed, *residual, out = arrays
    parts = np.vsplit(from_bf16(layout.unpack_a(a)), spec.parts)
    weights, bias = layout.unpack_weights(packed)
    result = fast.gemm(
        np.ascontiguousarray(np.hstack(parts)),
        from_bf16(weights),
        bias,
        spec.epilogue,
        layout.unpack_c(residual[0]) if residual else None,
    )
    where = EPILOGUES[spec.epilogue].layout
    if where == "c":
        out[:] = layout.pack_c(result)
    elif where == "a":
        out[:] = layout.pack_a(layout.to_bf16(result))
    else:
        out[:] = layout.pack_qkv(*np.hsplit(layout.to_bf16(result), 3))


def _attention(spec: StreamSpec, arrays: Sequence[NDArray[Any]]) -> None:
    q, k, v = map(from_bf16, layout.unpack_qkv(arrays[0], spec.m))
    heads = [
        fast.attention(_take_head(q, first), _take_head(k, first), _take_head(v, first), spec.valid)
        for first in range(0, spec.n, TILE)
    ]
    arrays[1][:] = layout.pack_a(layout.to_bf16(np.hstack(heads)))


def _take_head(columns: layout.F32, first: int) -> layout.F32:
    return np.ascontiguousarray(columns[:, first : first + TILE])


def _layernorm(spec: StreamSpec, arrays: Sequence[NDArray[Any]]) -> None:
    x, out = arrays
    out[:] = layout.pack_a(layout.to_bf16(fast.layernorm(layout.unpack_c(x), spec.valid)))


def _spectrum(spec: StreamSpec, arrays: Sequence[NDArray[Any]]) -> None:
    samples, packed, out = arrays
    weights, bias = layout.unpack_weights(packed)
    power = fast.spectrum(samples, from_bf16(weights), bias, spec.m)
    out[:] = layout.pack_a(layout.to_bf16(power))


Operation = Callable[[StreamSpec, Sequence[NDArray[Any]]], None]
OPERATIONS: dict[str, Operation] = {
    "gemm": _gemm,
    "attention": _attention,
    "layernorm": _layernorm,
    "spectrum": _spectrum,
}
