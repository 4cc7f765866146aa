"""Predicted times of the overlay's operations on an XDNA1 array. Nothing here was measured by us.

Each constant is fitted to a figure that others published, and says to which; the stand-in's clock
and `mlir/simulate` use the same. A command takes its dispatch plus the longest of computing, device
memory, streams and control. Whatever is derived from these numbers must be shown as `predicted`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from whisper_npu_cli.engines.npu.layout import round_up
from whisper_npu_cli.engines.npu.spec import (
    COLUMNS,
    EPILOGUES,
    HALF,
    PASS,
    SPLITS,
    TILE,
    StreamSpec,
)

N_CORES = 16
CLOCK_MHZ = 1800  # default and turbo mode of an 8700G (ignite-xdna)
CLOCKS_MHZ = (
    CLOCK_MHZ,
    1600,
    1028,
)  # the driver's highest step; where one Phoenix stays (xdna-emu)
LIST_MS = 0.036  # one member of a run list (ignite-xdna)
RAW_MS = 0.10  # one single submission (whisper-xdna, residual of 512 x 512 x 512)
CREATE_MS = 2.5  # a hardware context (whisper-xdna)
SWITCH_MS = 1.4  # another hardware context (whisper-xdna: 2.81 a pair)
DESCRIPTOR_MS, AWAIT_MS = 0.0005, 0.0028  # controller (xdna-emu: 2700-2900 cycles at 1.03 GHz)
STEP_CYCLES, BLOCK_CYCLES = 32, 101  # bf16: an 8 deep step, and overhead, of 16 x 16 (ignite-xdna)
STREAM_BYTES = 4  # bytes a stream carries in a cycle (ignite-xdna: 3.9998)
PRETILED_GBPS = 25.0  # device memory where whole tiles are contiguous (inferred: 23 to 25)
EXP_CYCLES = 5.0  # an exponential as a kernel of its own, between two products (inferred)
ELEMENT_CYCLES = TILE * TILE * 2 // STREAM_BYTES  # a tile of bf16, or half one of fp32, passes
AHEAD = 2  # elements that a core's end of a stream holds
# Parameters and barriers before a command's work, its last awaits behind (mlir/simulate)
COMMAND_CYCLES = 55_000
KERNEL_CYCLES = {  # a call, as `mlir/simulate/cost.py` counts it
    "start_tile": 1064,
    "multiply_tile": 5752,
    "gelu_tile": 24_616,
    "add_residual": 552,
    "store_f32": 552,
    "store_operand": 1064,
    "copy_tile": 552,
    "start_attention": 1192,
    "softmax_tile": 12_509,
    "finish_attention": 4712,
    "split_tile": 1064,
    "store_power": 3112,
}
SYNC_GBPS = 15.0  # flushing cache lines (inferred)
HOST_LAYERNORM_MS = 3.6e-6  # NumPy, an element: 2.8 ms for 1536 x 512 (inferred)


@dataclass(frozen=True)
class Gemm:
    """A product as the model sees it; published ones differ from ours in their tile."""

    m: int
    k: int
    n: int
    tile: tuple[int, int, int] = (TILE, TILE, TILE)
    out_bytes: int = 4  # bytes of an element of the result
    extra_bytes: int = 0  # residual operand
    tile_cycles: float = 0.0  # of a core for each tile of the result, beside the products

    def predict_ms(self, clock_mhz: float = CLOCK_MHZ) -> float:
        """Return predicted milliseconds without the dispatch."""
        tile_m, tile_k, tile_n = self.tile
        rows, cols = round_up(self.m, COLUMNS * tile_m), round_up(self.n, COLUMNS * tile_n)
        tiles = rows // tile_m * (cols // tile_n) / N_CORES
        steps = tiles * ceil(self.k / tile_k)
        compute = steps * count_tile_cycles(*self.tile) + tiles * self.tile_cycles
        operands = 2 * tile_k * max(tile_m, tile_n) / STREAM_BYTES * steps
        moved = steps * COLUMNS * 2 * tile_k * (tile_m + tile_n)
        moved += rows * cols * self.out_bytes + self.extra_bytes
        groups = ceil(rows / (COLUMNS * tile_m) / 2)  # row blocks in ping-pong halves
        control = groups * COLUMNS * (5 * DESCRIPTOR_MS + AWAIT_MS)
        return max(
            convert_cycles(max(compute, operands), clock_mhz),
            moved / PRETILED_GBPS / 1e6,
            control,
        )


def predict_stream_ms(spec: StreamSpec, clock_mhz: float = CLOCK_MHZ) -> float:
    """Return the predicted milliseconds of one command on the array, without its dispatch."""
    moved = sum(argument.size_bytes for argument in spec.arguments)
    if spec.op == "attention":
        cycles = _count_attention_cycles(spec)
    elif spec.op == "layernorm":
        passed = spec.n_passes * spec.arguments[0].size_bytes
        moved += passed - spec.arguments[0].size_bytes
        results = spec.m // PASS * (spec.n // PASS if spec.n_passes == 1 else 1)
        control = results * COLUMNS * (2 * DESCRIPTOR_MS + AWAIT_MS)  # every one is awaited
        cycles = max(passed / COLUMNS / STREAM_BYTES, 1000 * CLOCK_MHZ * control)
    else:
        product = _describe_product(spec)
        return convert_cycles(COMMAND_CYCLES, clock_mhz) + product.predict_ms(clock_mhz)
    cycles += COMMAND_CYCLES
    return max(convert_cycles(cycles, clock_mhz), moved / PRETILED_GBPS / 1e6)


def predict_chain_ms(spec: StreamSpec, clock_mhz: float) -> float:
    """Predict `spec` as two products for each head with exponentials between, in a run list."""
    scores = Gemm(spec.m, TILE, spec.k, out_bytes=2).predict_ms(clock_mhz)
    exponentials = convert_cycles(spec.m * spec.k * EXP_CYCLES / N_CORES, clock_mhz)
    values = Gemm(spec.m, spec.k, TILE, out_bytes=2).predict_ms(clock_mhz)
    return spec.n // TILE * (2 * LIST_MS + scores + exponentials + values)


def sum_by_operation(specs: Iterable[StreamSpec], clock_mhz: float) -> dict[str, float]:
    """Sum predicted milliseconds by operation, without dispatches."""
    parts: dict[str, float] = {}
    for spec in specs:
        parts[spec.op] = parts.get(spec.op, 0.0) + predict_stream_ms(spec, clock_mhz)
    return parts


def count_tile_cycles(m: int, k: int, n: int) -> int:
    """Return the cycles in which one core multiplies tiles of bf16."""
    return (m // 16) * (n // 16) * (STEP_CYCLES * k // 8 + BLOCK_CYCLES)


def convert_cycles(cycles: float, clock_mhz: float = CLOCK_MHZ) -> float:
    """Return the milliseconds of `cycles` of the array."""
    return cycles / clock_mhz / 1e3


def predict_sync_ms(size_bytes: float) -> float:
    """Return the predicted milliseconds of handing a buffer over."""
    return size_bytes / SYNC_GBPS / 1e6


def _describe_product(spec: StreamSpec) -> Gemm:
    """Return a gemm or a spectrum as a product, with what a core does beside it for each tile."""
    calls = KERNEL_CYCLES
    if spec.op == "spectrum":
        split = spec.k // HALF * calls["split_tile"]
        beside = calls["start_tile"] + split + calls["store_power"]
        return Gemm(spec.m, SPLITS * spec.k, spec.n, out_bytes=2, tile_cycles=beside)
    epilogue, beside = EPILOGUES[spec.epilogue], calls["start_tile"]
    if epilogue.gelu:
        beside += calls["gelu_tile"]
    if epilogue.residual:  # others' halves pass by, and a core has nothing else to do
        beside += (COLUMNS - AHEAD) * ELEMENT_CYCLES + 2 * calls["add_residual"]
    if epilogue.layout == "c":  # the second half waits until the first has left
        beside += ELEMENT_CYCLES + 2 * calls["store_f32"]
    else:
        beside += calls["store_operand"]
    residual = 4 * spec.m * spec.n if epilogue.residual else 0
    out_bytes = 4 if epilogue.layout == "c" else 2
    return Gemm(
        *(spec.m, spec.k, spec.n),
        out_bytes=out_bytes,
        extra_bytes=residual,
        tile_cycles=beside,
    )


def _count_attention_cycles(spec: StreamSpec) -> float:
    """Count fused attention: a core keeps its queries; keys and values pass down its column."""
    calls = KERNEL_CYCLES
    each = spec.k // TILE * (calls["softmax_tile"] + calls["multiply_tile"])
    around = calls["copy_tile"] + calls["start_attention"] + calls["finish_attention"]
    arriving = COLUMNS * ELEMENT_CYCLES  # queries of the row, of which this core takes one
    return spec.m * spec.n / TILE**2 / N_CORES * (each + around + arriving)
