"""What this machine can do at most: the rates of products and of reading memory.

An engine's time means little on a shared machine; its share of these limits, measured in the
same run, means something. Knows nothing of Whisper.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
import openvino as ov
from numba import types
from openvino import opset13 as ops

from whisper_npu_cli.engines.numba_decoder.calls import load
from whisper_npu_cli.engines.numba_decoder.code import load_all
from whisper_npu_cli.engines.numba_decoder.compiling import kernel
from whisper_npu_cli.engines.numba_decoder.kinds import F32, I8, I16
from whisper_npu_cli.engines.numba_decoder.packing import pack
from whisper_npu_cli.engines.numba_decoder.products import multiply
from whisper_npu_cli.engines.numba_decoder.threads import count_threads, run_tasks
from whisper_npu_cli.environment import find_core

GEMM_ROWS, GEMM_DEPTH, GEMM_COLUMNS = 1536, 1024, 2048  # 6.4 GFLOP, a shape of the encoder
READ_BYTES = 256 * 1024**2  # far more than the last cache of any desktop processor


class Gemm:
    """A matrix product on OpenVINO's CPU device in "f32", "bf16" or "int8" (fp32 in and out)."""

    def __init__(self, precision: str, n_threads: int | None) -> None:
        rng = np.random.default_rng(0)
        self._x = rng.random((GEMM_ROWS, GEMM_DEPTH), np.float32)
        weight = ops.constant(rng.random((GEMM_DEPTH, GEMM_COLUMNS), np.float32))
        x = ops.parameter([GEMM_ROWS, GEMM_DEPTH], np.float32)
        operands = [x, weight]
        if precision == "int8":
            low, high = ops.constant(np.float32(-1)), ops.constant(np.float32(1))
            operands = [ops.fake_quantize(o, low, high, low, high, 255) for o in operands]
        config: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": "f32" if precision == "int8" else precision,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # as in the encoder
        }
        if n_threads is not None:
            config["INFERENCE_NUM_THREADS"] = n_threads
        model = ov.Model([ops.matmul(*operands, False, False)], [x])
        self._request = find_core().compile_model(model, "CPU", config).create_infer_request()

    def measure_gflops(self) -> float:
        """Return the rate of one product in GFLOP/s."""
        start = perf_counter()
        self._request.infer([self._x], share_inputs=True)
        seconds = perf_counter() - start
        return 2e-9 * GEMM_ROWS * GEMM_DEPTH * GEMM_COLUMNS / seconds


def supports_bf16() -> bool:
    """Tell if OpenVINO computes in bf16 on this CPU, rather than emulating it."""
    return "BF16" in find_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@kernel(F32[2], F32[1])
def _sum(part, arguments):  # type: ignore[no-untyped-def]
    values, totals = load(arguments)
    row = values[part]
    total = np.float32(0)
    for i in range(len(row)):  # by index: an iterator is not vectorised, and reads at a third
        total += row[i]
    totals[part] = total


class MemoryRead:
    """Read an array that no cache holds, on all threads."""

    def __init__(self) -> None:
        self._values = np.ones((count_threads(), READ_BYTES // 4 // count_threads()), np.float32)
        self._totals = np.empty(len(self._values), np.float32)
        load_all([_sum])

    def measure_gb_s(self) -> float:
        """Return the rate of one pass in GB/s."""
        start = perf_counter()
        run_tasks(_sum, len(self._values), self._values, self._totals)
        return self._values.nbytes / 1e9 / (perf_counter() - start)


# Rows of x and a packed matrix that stay in a core's first cache: 5 is the default number of beams
MULTIPLY_ROWS, MULTIPLY_OUTPUTS, MULTIPLY_INPUTS, MULTIPLY_REPEATS = 5, 32, 512, 2000


@kernel(I8[3], I16[2], F32[3], types.int64)
def _multiply(thread, arguments):  # type: ignore[no-untyped-def]
    packed, x, out, n_repeats = load(arguments)
    for _ in range(n_repeats):
        multiply(packed, 0, packed.shape[0], x, out[thread])


class Multiply:
    """Multiply int8 weights by 16-bit activations, on all threads, with both in the caches."""

    def __init__(self) -> None:
        self._packed = pack(np.ones((MULTIPLY_OUTPUTS, MULTIPLY_INPUTS), np.int8))
        self._x = np.ones((MULTIPLY_ROWS, MULTIPLY_INPUTS), np.int16)
        self._out = np.zeros((count_threads(), MULTIPLY_ROWS, MULTIPLY_OUTPUTS), np.float32)
        load_all([_multiply])

    def measure_gmacs(self) -> float:
        """Return the rate of one pass in G multiply-adds a second."""
        start = perf_counter()
        out = self._out
        run_tasks(_multiply, len(out), self._packed, self._x, out, MULTIPLY_REPEATS)
        seconds = perf_counter() - start
        return 1e-9 * MULTIPLY_REPEATS * MULTIPLY_INPUTS * self._out.size / seconds
