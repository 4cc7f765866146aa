"""The known-answer test: an overlay is trusted only after each of its streams has computed right.

Devices report success for stale instructions, wrong block orders and unwritten results. So every
stream runs once on noise, its output is filled with NaN before, and one row of every tile is
compared over all columns with NumPy. Firmware was also seen to drop commands of run lists without
a word (xdna-emu), so a list is tried in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.engines.base import from_bf16
from whisper_npu_cli.engines.npu import layout, numerics
from whisper_npu_cli.engines.npu.runtime import Buffer, Command, DeviceRuntime, Program
from whisper_npu_cli.engines.npu.spec import EPILOGUES, HALF, TILE, Argument, StreamSpec
from whisper_npu_cli.engines.npu.timing_model import predict_stream_ms
from whisper_npu_cli.errors import OverlayError

F32 = NDArray[np.float32]

TIMEOUT_S = 5.0
LIST_LENGTH = 26  # XRT submits a list in chunks of 24 commands
SENTINEL = 0xFF  # bytes of a NaN, in bf16 and in fp32
TOLERANCE = 0.02  # share of the largest value: twice what bf16 results and exponentials may lose
NOISE = (
    np.random.default_rng(1).uniform(-1, 1, 99_991).astype(np.float32)
)  # a prime length: rows differ


def check_streams(runtime: DeviceRuntime, program: Program, specs: Sequence[StreamSpec]) -> float:
    """Run every stream alone; return device milliseconds. OverlayError names one that fails."""
    device_ms = 0.0
    for spec in specs:
        trial = _Trial(runtime, spec)
        output = trial.make_output()
        device_ms += program.run_list([trial.command(output)], chained=False).run(TIMEOUT_S)
        trial.judge(output)
    return device_ms


def check_list(runtime: DeviceRuntime, program: Program, specs: Sequence[StreamSpec]) -> float:
    """Run two operations in turn as one list of LIST_LENGTH; return device milliseconds.

    DeviceError where the list fails, OverlayError where a command in it was not executed.
    """
    quickest = {spec.op: spec for spec in sorted(specs, key=predict_stream_ms, reverse=True)}
    pair = sorted(quickest.values(), key=predict_stream_ms)[:2]
    trials = list(islice(cycle(_Trial(runtime, spec) for spec in pair), LIST_LENGTH))
    outputs = [trial.make_output() for trial in trials]
    commands = [trial.command(output) for trial, output in zip(trials, outputs, strict=True)]
    device_ms = program.run_list(commands, chained=True).run(TIMEOUT_S)
    for trial, output in zip(trials, outputs, strict=True):
        trial.judge(output)
    return device_ms


class _Trial:
    """A stream with its inputs on the device, and the rows that it must give."""

    def __init__(self, runtime: DeviceRuntime, spec: StreamSpec) -> None:
        self._runtime = runtime
        self._spec = spec
        inputs = [_make_noise(spec, argument) for argument in spec.arguments[:-1]]
        self._inputs = tuple(runtime.alloc(argument.size_bytes) for argument in spec.arguments[:-1])
        for buffer, (packed, _) in zip(self._inputs, inputs, strict=True):
            buffer.host[:] = packed.reshape(-1).view(np.uint8)
            buffer.to_device()
        self._rows = np.arange(0, spec.m, TILE) + np.arange(spec.m // TILE) * 7 % TILE
        self._want = EXPECTED[spec.op](spec, self._rows, *(plain for _, plain in inputs))

    def make_output(self) -> Buffer:
        """Return a buffer full of NaN."""
        output = self._runtime.alloc(self._spec.arguments[-1].size_bytes)
        output.host[:] = SENTINEL
        output.to_device()
        return output

    def command(self, output: Buffer) -> Command:
        """Return the command that writes `output`."""
        return Command(self._spec.name, (*self._inputs, output))

    def judge(self, output: Buffer) -> None:
        """Read `output` back; OverlayError where it is wrong."""
        output.to_host()
        _judge(self._spec, _unpack(self._spec, output), self._rows, self._want)


def _judge(spec: StreamSpec, got: F32, rows: NDArray[np.int64], want: F32) -> None:
    hint = "build the overlay anew: whisper-npu overlays build; then: whisper-npu doctor --selftest"
    counted = spec.valid if spec.op == "layernorm" else spec.n
    got, want = got[:, :counted], want[:, :counted]
    if not np.isfinite(got).all():
        raise OverlayError(f"stream {spec.name} left part of its output unwritten", hint=hint)
    error = float(np.abs(got[rows] - want).max() / np.abs(want).max())
    if not error <= TOLERANCE:
        message = f"stream {spec.name} failed its known-answer test: off by {error:.0%}"
        raise OverlayError(message, hint=hint)


def _make_noise(spec: StreamSpec, argument: Argument) -> tuple[NDArray[Any], tuple[F32, ...]]:
    """Return an argument packed, and the plain matrices that it holds."""
    rows, cols = argument.shape
    if argument.layout == "weights":
        weights = layout.to_bf16(_make_matrix(rows - TILE, cols, scale=spec.k**-0.5))
        bias = NOISE[:cols]  # a stream has at most MAX_N columns, fewer than the noise
        return layout.pack_weights(weights, bias), (from_bf16(weights), bias)
    if argument.layout == "qkv":
        sizes = spec.m, spec.k, spec.k
        parts = [layout.to_bf16(_make_matrix(n, cols, shift=i)) for i, n in enumerate(sizes)]
        return layout.pack_qkv(*parts), tuple(map(from_bf16, parts))
    if argument.layout == "c":
        plain = _make_matrix(rows, cols, shift=3)
        return layout.pack_c(plain), (plain,)
    if argument.layout == "samples":
        plain = _make_matrix(rows, cols)
        return plain, (plain,)
    operand = layout.to_bf16(_make_matrix(rows, cols))
    return layout.pack_a(operand), (from_bf16(operand),)


def _make_matrix(rows: int, cols: int, scale: float = 1.0, shift: int = 0) -> F32:
    return np.resize(np.roll(NOISE, shift), (rows, cols)) * np.float32(scale)


def _unpack(spec: StreamSpec, output: Buffer) -> F32:
    argument = spec.arguments[-1]
    if argument.layout == "c":
        return layout.unpack_c(output.host.view(np.float32).reshape(argument.shape))
    packed = output.host.view(np.uint16).reshape(argument.shape)
    if argument.layout == "a":
        return from_bf16(layout.unpack_a(packed))
    return from_bf16(np.hstack(layout.unpack_qkv(packed, spec.m)))


def _gemm(
    spec: StreamSpec, rows: NDArray[np.int64], a: tuple[F32], weights: tuple[F32, F32], *rest: Any
) -> F32:
    parts = np.vsplit(a[0], spec.parts)
    product: F32 = np.hstack([part[rows] for part in parts]) @ weights[0] + weights[1]
    if EPILOGUES[spec.epilogue].gelu:
        from scipy.special import ndtr

        product = product * ndtr(product)
    return product + rest[0][0][rows] if rest else product


def _attention(spec: StreamSpec, rows: NDArray[np.int64], qkv: tuple[F32, F32, F32]) -> F32:
    heads = []
    for first in range(0, spec.n, TILE):
        queries, keys, values = (x[:, first : first + TILE] for x in qkv)
        scores = queries[rows] @ keys[: spec.valid].T
        weights = np.exp2(scores - scores.max(axis=1, keepdims=True))
        heads.append(weights @ values[: spec.valid] / weights.sum(axis=1, keepdims=True))
    return np.hstack(heads)


def _layernorm(spec: StreamSpec, rows: NDArray[np.int64], x: tuple[F32]) -> F32:
    counted = x[0][rows, : spec.valid]
    centred = counted - counted.mean(axis=1, keepdims=True)
    normal: F32 = centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + 1e-5)
    return normal


def _spectrum(
    spec: StreamSpec, rows: NDArray[np.int64], samples: tuple[F32], weights: tuple[F32, F32]
) -> F32:
    parts = numerics.split_frames(samples[0], spec.m, spec.k)[rows] @ weights[0] + weights[1]
    power = np.square(parts).reshape(len(rows), -1, 2, HALF).sum(axis=2, keepdims=True)
    high, low = map(from_bf16, layout.split_bf16(power))
    return np.concatenate([high, low], axis=2).reshape(len(rows), -1)


EXPECTED: dict[str, Callable[..., F32]] = {
    "gemm": _gemm,
    "attention": _attention,
    "layernorm": _layernorm,
    "spectrum": _spectrum,
}
