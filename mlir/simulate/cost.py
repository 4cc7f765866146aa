"""Cycles of the kernels, and what a run means in milliseconds. Everything here is predicted.

The host build of the kernels counts how often a call uses each slot of the VLIW bundle: one
multiplication or fp32 sum, two loads of 256 bits, one store or conversion to fewer bits, and one
move, integer operation, comparison or permutation a cycle. What Peano makes of it is
set by the one figure that was measured on this chip: AMD's bf16 loop of 64 x 64 x 64, whose
structure `multiply_tile` has, takes 5712 cycles for 2048 multiplications (2477 GFLOPS on 16 cores
at 1.8 GHz), and its inner loop is half dense. So a matrix multiplication counts 2.8 cycles, and
the busiest slot of everything else 2 (inferred).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from mlir.host.library import load
from mlir.simulate.iron import Kernel, size_bytes
from mlir.simulate.pools import allocate
from whisper_npu_cli.engines.npu.timing_model import LIST_MS, convert_cycles, count_tile_cycles

DENSITY = 0.5
MATRIX_CYCLES = count_tile_cycles(64, 64, 64) / 2048
SCALARS = {"softmax_tile": 64}  # valid keys; all other scalars are 0
# Run-time parameters of layernorm: one pass over two groups of four tiles; all others are 0
PARAMETERS = {"add_rows": {7: 2, 8: 8}, "normalise_rows": {7: 2}}
CALL_CYCLES = 40  # a call from the core's loop: acquire, release, arguments (inferred)


@dataclass(frozen=True)
class Prediction:
    """What a run of one stream costs; `bottleneck` has the longest part of `parts_ms`."""

    cycles: float  # from the first parameter to the last await
    parts_ms: dict[str, float]  # compute, stream, memory, control: each alone
    link_bytes: dict[str, int]  # fifo -> bytes
    host_bytes: int  # between device memory and the array

    @property
    def array_ms(self) -> float:
        """Predicted milliseconds on the array: as simulated, or as device memory allows."""
        return max(convert_cycles(self.cycles), self.parts_ms["memory"])

    @property
    def ms(self) -> float:
        """Predicted milliseconds of the command in a run list."""
        return LIST_MS + self.array_ms

    @property
    def bottleneck(self) -> str:
        """The part that would have to become shorter."""
        return max(self.parts_ms, key=lambda part: self.parts_ms[part])


@cache
def count(name: str, sizes: tuple[int | None, ...]) -> dict[str, int]:
    """Return the slots that kernel `name` uses on zeros; `sizes` in bytes, None for scalars."""
    library = load()
    scalar = SCALARS.get(name, 0)
    buffers = [None if n is None else allocate(n).view(np.int32) for n in sizes]
    for index, value in PARAMETERS.get(name, {}).items():
        parameters = buffers[3]
        assert parameters is not None
        parameters[index] = value
    library.call(name, *(scalar if buffer is None else buffer for buffer in buffers))
    return library.read_counts()


def predict_kernel_cycles(kernel: Kernel) -> float:
    """Return the predicted cycles of one call."""
    sizes = tuple(size_bytes(t) if hasattr(t, "__args__") else None for t in kernel.arg_types)
    slots = count(kernel.name, sizes)
    rest = max(slots["vector"] - slots["matrix"], slots["move"])
    if not slots["matrix"]:  # else its loads and stores are part of the measured figure
        rest = max(rest, slots["load"] // 2, slots["store"])
    return slots["matrix"] * MATRIX_CYCLES + rest / DENSITY + CALL_CYCLES
