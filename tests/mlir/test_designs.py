"""The designs on the simulated array: the same bits as the definition, for every operation."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlir.simulate import limits
from mlir.simulate.iron import DesignError, Kernel
from mlir.simulate.run import load_design, run_program, run_stream
from mlir.simulate.runtime import Transfer
from tests.support.callback_sequence import run_on_noise
from tests.support.places import ROOT
from whisper_npu_cli.engines.base import from_bf16
from whisper_npu_cli.engines.npu import layout, numerics
from whisper_npu_cli.engines.npu.spec import EPILOGUES, SPLITS, StreamSpec

M, K, N = 256, 128, 512


def operand(seed: int, rows: int, cols: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)
    return numerics.round_bf16(values)


def pack_a(values: np.ndarray) -> np.ndarray:
    return layout.pack_a(layout.to_bf16(values))


def unpack_a(packed: np.ndarray) -> np.ndarray:
    return from_bf16(layout.unpack_a(packed))


def output(spec: StreamSpec) -> np.ndarray:
    """Memory as it is found: not zero."""
    argument = spec.arguments[-1]
    dtype = np.uint16 if argument.dtype == "bf16" else np.float32
    return np.full(argument.shape, 0x7F81 if dtype is np.uint16 else np.nan, dtype)


def gemm_buffers(spec: StreamSpec, seed: int = 0) -> tuple[list[Any], np.ndarray]:
    """Return the buffers of a gemm, and what it must give."""
    a, w = operand(seed, spec.m, spec.k), operand(seed + 1, spec.k, spec.n)
    bias = np.random.default_rng(seed + 2).standard_normal(spec.n).astype(np.float32)
    residual = None
    parts = np.concatenate(np.split(a, spec.parts, axis=1))
    buffers = [pack_a(parts), layout.pack_weights(layout.to_bf16(w), bias)]
    if EPILOGUES[spec.epilogue].residual:
        residual = np.random.default_rng(seed + 3).standard_normal((spec.m, spec.n))
        residual = residual.astype(np.float32)
        buffers.append(layout.pack_c(residual))
    buffers.append(output(spec))
    return buffers, numerics.gemm(a, w, bias, spec.epilogue, residual)


@pytest.mark.parametrize("epilogue", ["f32", "bf16", "gelu", "residual", "gelu_residual"])
def test_gemm(epilogue: str) -> None:
    spec = StreamSpec("gemm", M, K, N, epilogue)
    buffers, wanted = gemm_buffers(spec)
    run_stream(spec, buffers)
    unpack = layout.unpack_c if EPILOGUES[epilogue].layout == "c" else unpack_a
    assert np.array_equal(unpack(buffers[-1]), wanted)


def test_gemm_of_parts_and_several_row_blocks() -> None:
    spec = StreamSpec("gemm", 2 * M, 3 * 128, 256, "bf16", parts=3)
    buffers, wanted = gemm_buffers(spec)
    run_stream(spec, buffers)
    assert np.array_equal(unpack_a(buffers[-1]), wanted)


def test_keys_values_and_attention() -> None:
    heads, rows, valid = 8, 2 * M, 476
    spec = StreamSpec("gemm", rows, K, 3 * 64 * heads, "qkv")
    buffers, wanted = gemm_buffers(spec)
    run_stream(spec, buffers)
    made = [from_bf16(part) for part in layout.unpack_qkv(buffers[-1], rows)]
    assert np.array_equal(np.hstack(made), wanted)
    scaled = numerics.round_bf16(made[0] * np.float32(0.01))  # so that no key has all the weight
    qkv = layout.pack_qkv(*map(layout.to_bf16, (scaled, *made[1:])))
    spec = StreamSpec("attention", rows, rows, 64 * heads, valid=valid)
    out = output(spec)
    run_stream(spec, [qkv, out])
    for head in range(heads):
        columns = slice(64 * head, 64 * head + 64)
        one = [np.ascontiguousarray(x[:, columns]) for x in (scaled, *made[1:])]
        assert np.array_equal(unpack_a(out)[:, columns], numerics.attention(*one, valid))


@pytest.mark.parametrize(
    ("n", "valid"),
    [(256, 192), (512, 64), (512, 384), (512, 512), (768, 768), (1024, 960), (1280, 1280)],
)
def test_layernorm(n: int, valid: int) -> None:
    """Rows of 768 and 1280 columns pass twice."""
    x = np.random.default_rng(40).standard_normal((2 * M, n)).astype(np.float32) * 3 + 1
    spec = StreamSpec("layernorm", 2 * M, 0, n, valid=valid)
    out = output(spec)
    run_stream(spec, [layout.pack_c(x), out])
    assert np.array_equal(unpack_a(out), numerics.layernorm(x, valid))


def spectrum_buffers(spec: StreamSpec) -> tuple[list[Any], np.ndarray]:
    """Return the buffers of a spectrum, and what it must give."""
    samples = np.random.default_rng(50).standard_normal(spec.arguments[0].shape).astype(np.float32)
    weights = operand(51, SPLITS * spec.k, spec.n)
    bias = np.random.default_rng(52).standard_normal(spec.n).astype(np.float32)
    packed = layout.pack_weights(layout.to_bf16(weights), bias)
    return [samples, packed, output(spec)], numerics.spectrum(samples, weights, bias, spec.m)


def test_spectrum_of_overlapping_frames() -> None:
    spec = StreamSpec("spectrum", 2 * M, 416, N)
    buffers, wanted = spectrum_buffers(spec)
    prediction = run_stream(spec, buffers)
    assert np.array_equal(unpack_a(buffers[-1]), wanted)
    passes, frames = N // 256, 2 * M * 416 * 4
    wanted_bytes = passes * frames + buffers[1].nbytes * 2 + buffers[2].nbytes
    assert prediction.host_bytes == wanted_bytes


@pytest.mark.parametrize("operations", [("gemm", "layernorm"), ("gemm",)])
def test_cores_with_some_of_the_operations(operations: tuple[str, ...]) -> None:
    spec = StreamSpec("gemm", M, K, 256, "gelu")
    buffers, wanted = gemm_buffers(spec)
    program = load_design().make_program(spec, operations)
    run_program(program, buffers)
    assert np.array_equal(unpack_a(buffers[-1]), wanted)
    kernels = {kernel.name for kernel in program.runtime.workers[0].of(Kernel)}
    assert "softmax_tile" not in kernels
    assert ("add_rows" in kernels) == ("layernorm" in operations)


@pytest.mark.parametrize(
    "spec",
    [
        StreamSpec("gemm", 2 * M, K, 256, "residual"),
        StreamSpec("attention", M, M, 256, valid=220),
        StreamSpec("layernorm", M, 0, N, valid=384),
        StreamSpec("spectrum", M, 64, 256),
    ],
    ids=lambda spec: spec.op,
)
def test_the_sequence_is_the_same_on_both_releases_of_iron(spec: StreamSpec) -> None:
    command = [sys.executable, "-m", "tests.support.callback_sequence", json.dumps(asdict(spec))]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(ended.stdout) == run_on_noise(spec, load_design())


def test_a_run_is_repeatable_to_the_cycle() -> None:
    spec = StreamSpec("gemm", M, K, 256, "gelu")
    first, second = (run_stream(spec, gemm_buffers(spec)[0]) for _ in range(2))
    assert first == second


def test_device_memory_moves_what_the_shapes_say() -> None:
    spec = StreamSpec("gemm", M, K, N, "bf16")
    prediction = run_stream(spec, gemm_buffers(spec)[0])
    columns = N // 256
    wanted = spec.arguments[0].size_bytes * columns  # A once per pass of columns
    wanted += spec.arguments[1].size_bytes + spec.arguments[2].size_bytes
    assert prediction.host_bytes == wanted
    out = sum(prediction.link_bytes[f"c{column}"] for column in range(4))
    assert out == spec.arguments[2].size_bytes


def test_the_memory_of_a_core_is_what_the_readme_says() -> None:
    worker = load_design().make_program(StreamSpec("gemm", M, K, N, "f32")).runtime.workers[0]
    used = sum(limits.map_memory(worker).values())
    readme = (Path(limits.__file__).parents[1] / "README.md").read_text()
    assert f"| free | {limits.CORE.memory_bytes - used} of 65536 |" in readme


def test_a_swapped_block_order_is_caught() -> None:
    spec = StreamSpec("gemm", M, K, 256, "f32")
    buffers, wanted = gemm_buffers(spec)
    tiles = buffers[1].reshape(-1, 64 // 8, 64 // 4, 8, 4)
    buffers[1] = np.ascontiguousarray(tiles.swapaxes(1, 2)).reshape(buffers[1].shape)
    run_stream(spec, buffers)
    assert not np.allclose(layout.unpack_c(buffers[-1]), wanted)


def with_wrong_step(spec: StreamSpec, fifo: str, dimension: int, factor: float) -> Any:
    """Return the program of a stream, one step of the first tap of a fifo multiplied."""
    program = load_design().make_program(spec)
    transfers = [step for step in program.runtime.steps if isinstance(step, Transfer)]
    strides = next(step for step in transfers if step.handle.fifo.name == fifo).tap.strides
    strides[dimension] = int(strides[dimension] * factor)
    return program


@pytest.mark.parametrize("fifo", ["a0", "c2"])
def test_a_wrong_tap_step_is_caught_by_its_result(fifo: str) -> None:
    spec = StreamSpec("gemm", 2 * M, 3 * 128, N, "bf16", parts=3)
    buffers, wanted = gemm_buffers(spec)
    run_program(with_wrong_step(spec, fifo, 1, 0.5), buffers)
    assert not np.array_equal(unpack_a(buffers[-1]), wanted)


def test_a_wrong_tap_step_is_caught_by_the_descriptor() -> None:
    spec = StreamSpec("gemm", M, K, N, "bf16")
    with pytest.raises(DesignError, match=r"tile \(1, 0\), fifo b1: wrap \d+, at most 1023"):
        run_program(with_wrong_step(spec, "b1", 3, 2), gemm_buffers(spec)[0])


def test_a_missing_release_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    core = load_design().Core
    release_less = core.gemm

    def forgetful(self: Any, a: Any, b: Any, c: Any, acc: Any, rtp: Any) -> None:
        release_less(self, a, b, c, acc, rtp)
        b.acquire(1)

    monkeypatch.setattr(core, "gemm", forgetful)
    spec = StreamSpec("gemm", M, K, 256, "bf16")
    with pytest.raises(DesignError, match=r"core tile \(.*b._core at tile"):
        run_stream(spec, gemm_buffers(spec)[0])
