"""What this machine can do at most: the rates of matrix products and of reading memory.

An engine's time means little on a shared machine; its share of these limits, measured in the
same run, means something. Knows nothing of Whisper.
"""

from __future__ import annotations

from time import perf_counter

import numba
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

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
        self._request = ov.Core().compile_model(model, "CPU", config).create_infer_request()

    def measure_gflops(self) -> float:
        """Return the rate of one product in GFLOP/s."""
        start = perf_counter()
        self._request.infer([self._x], share_inputs=True)
        seconds = perf_counter() - start
        return 2e-9 * GEMM_ROWS * GEMM_DEPTH * GEMM_COLUMNS / seconds


def supports_bf16() -> bool:
    """Tell if OpenVINO computes in bf16 on this CPU, rather than emulating it."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@numba.njit(parallel=True, fastmath=True, cache=True)
def _sum(values):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for i in numba.prange(values.size):
        total += values[i]
    return total


class MemoryRead:
    """Read an array that no cache holds, on all threads."""

    def __init__(self) -> None:
        self._values: NDArray[np.float32] = np.ones(READ_BYTES // 4, np.float32)
        _sum(self._values)  # compiles it

    def measure_gb_s(self) -> float:
        """Return the rate of one pass in GB/s."""
        start = perf_counter()
        _sum(self._values)
        return READ_BYTES / 1e9 / (perf_counter() - start)
