"""The overlay's contract: which streams exist, and what they take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from whisper_npu_cli.engines.npu.spec import StreamSpec
from whisper_npu_cli.errors import OverlayError

GEMM = StreamSpec("gemm", 1536, 1536, 512, "gelu_residual", parts=3)
ATTENTION = StreamSpec("attention", 1536, 1536, 512, valid=1500)
NORM = StreamSpec("layernorm", 1536, 0, 512, valid=384)


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (NORM, {"op": "softmax"}),
        (GEMM, {"m": 1500}),
        (GEMM, {"m": 0}),
        (GEMM, {"n": 384}),
        (GEMM, {"n": 16_640}),  # a row of f32 tiles would not fit a shim's step
        (GEMM, {"k": 64}),  # a tile, and three parts
        (GEMM, {"k": 16_512}),
        (GEMM, {"parts": 0}),
        (GEMM, {"epilogue": "tanh"}),
        (GEMM, {"epilogue": ""}),
        (GEMM, {"valid": 64}),
        (ATTENTION, {"valid": 0}),
        (ATTENTION, {"valid": 1540}),
        (ATTENTION, {"valid": 1472}),  # a whole tile of keys is padding
        (ATTENTION, {"valid": 1502}),
        (ATTENTION, {"k": 1500}),
        (ATTENTION, {"epilogue": "f32"}),
        (NORM, {"valid": 0}),
        (NORM, {"valid": 576}),
        (NORM, {"valid": 300}),
        (NORM, {"k": 64}),
        (NORM, {"parts": 2}),
    ],
)
def test_illegal_shape_is_refused(spec: StreamSpec, change: dict[str, Any]) -> None:
    with pytest.raises(OverlayError, match=change.get("op", spec.op)):
        replace(spec, **change)


def test_arguments_come_in_kernel_order_with_their_sizes() -> None:
    assert [row.role for row in GEMM.arguments] == ["a", "weights", "residual", "out"]
    assert GEMM.arguments[0].shape == (3 * 1536, 512)
    assert [row.size_bytes for row in GEMM.arguments] == [4718592, 1638400, 3145728, 3145728]
    assert [row.role for row in ATTENTION.arguments] == ["qkv", "out"]
