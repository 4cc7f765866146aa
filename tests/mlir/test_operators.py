"""The simulated array and the host's stand-in give the same bytes for the same stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlir.simulate.operators import make_operators
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.checkpoints.random import random_dims
from whisper_npu_cli.engines.npu import layout
from whisper_npu_cli.engines.npu.plan import plan_encoder
from whisper_npu_cli.engines.npu.spec import StreamSpec
from whisper_npu_cli.engines.npu.standin import build

DEMO = open_checkpoint("demo", offline=True).dims
SPECS = sorted(
    {spec for dims in (DEMO, random_dims("tiny")) for spec in plan_encoder(dims).specs},
    key=lambda spec: spec.name,
)


def image(spec: StreamSpec, index: int) -> np.ndarray:
    """Random bytes of an argument's device image: bf16 around zero, in any layout."""
    argument = spec.arguments[index]
    rng = np.random.default_rng(index)
    values = rng.standard_normal(argument.size_bytes // 4).astype(np.float32)
    if argument.dtype == "f32":
        return values.view(np.uint8)
    if argument.layout == "weights":
        rows, cols = argument.shape
        weights = rng.standard_normal((rows - 64, cols)).astype(np.float32) / np.float32(
            spec.k**0.5
        )
        bias = rng.standard_normal(cols).astype(np.float32)
        return layout.pack_weights(layout.to_bf16(weights), bias).reshape(-1).view(np.uint8)
    both = np.concatenate([values, values[::-1]]) * np.float32(0.3)
    return layout.to_bf16(both).view(np.uint8)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_same_bytes(spec: StreamSpec, tmp_path: Path) -> None:
    manifest = build.build_overlay(tmp_path, [spec])
    (array,) = make_operators(manifest).values()
    (numpy,) = build.make_operators(manifest).values()
    images = [image(spec, index) for index in range(len(spec.arguments))]
    again = [one.copy() for one in images]
    array(images)
    numpy(again)
    assert all(np.array_equal(x, y) for x, y in zip(images, again, strict=True))
    assert array.device_ms > 0
