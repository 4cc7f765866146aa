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
from whisper_npu_cli.engines.npu.spec import COLUMNS, EPILOGUES, HALF, SPLITS, TILE, StreamSpec

N_CORES = 16
CLOCK_MHZ = 1800  # default and turbo mode of an 8700G (ignite-xdna); 1028 on some Phoenix
LIST_MS = 0.036  # one member of a run list (ignite-xdna)
RAW_MS = 0.10  # one single submission (whisper-xdna, residual of 512 x 512 x 512)
CREATE_MS = 2.5  # a hardware context (whisper-xdna)
SWITCH_MS = 1.4  # another hardware context (whisper-xdna: 2.81 a pair)
DESCRIPTOR_MS, AWAIT_MS = 0.0005, 0.0028  # controller (xdna-emu: 2700-2900 cycles at 1.03 GHz)
STEP_CYCLES, BLOCK_CYCLES = 32, 101  # bf16: an 8 deep step, and overhead, of 16 x 16 (ignite-xdna)
STREAM_BYTES = 4  # bytes a stream carries in a cycle (ignite-xdna: 3.9998)
PRETILED_GBPS = 25.0  # device memory where whole tiles are contiguous (inferred: 23 to 25)
GELU_GELEMS = 2.7  # epilogue on 16 cores, 10^9 elements/s: as whisper-xdna's softmax kernel
EXP_CYCLES = 5.0  # an exponential of the fused attention in its row work (inferred, pessimistic)
ATTENTION_MACS = 64  # multiply-accumulates a cycle and core: half of the unit's 128 (inferred)
SPLIT_CYCLES = 1064  # 64 frames x 32 samples in bf16 parts (mlir/simulate/cost.py)
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

    def predict_ms(self, clock_mhz: float = CLOCK_MHZ) -> float:
        """Return predicted milliseconds without the dispatch."""
        tile_m, tile_k, tile_n = self.tile
        rows, cols = round_up(self.m, COLUMNS * tile_m), round_up(self.n, COLUMNS * tile_n)
        steps = rows // tile_m * (cols // tile_n) / N_CORES * ceil(self.k / tile_k)
        compute = steps * count_tile_cycles(*self.tile)
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
    if spec.op == "attention":
        return _predict_attention_ms(spec, clock_mhz)
    if spec.op == "layernorm":  # every row passes twice, down the four row streams
        passed = 2 * 4 * spec.m * spec.n
        streamed = convert_cycles(passed / COLUMNS / STREAM_BYTES, clock_mhz)
        return max(streamed, (passed + 2 * spec.m * spec.n) / PRETILED_GBPS / 1e6)
    if spec.op == "spectrum":
        return _predict_spectrum_ms(spec, clock_mhz)
    epilogue = EPILOGUES[spec.epilogue]
    gelu = spec.m * spec.n / GELU_GELEMS / 1e6 * CLOCK_MHZ / clock_mhz if epilogue.gelu else 0.0
    out_bytes = 4 if epilogue.layout == "c" else 2
    residual = 4 * spec.m * spec.n if epilogue.residual else 0
    return gelu + Gemm(
        spec.m, spec.k, spec.n, out_bytes=out_bytes, extra_bytes=residual
    ).predict_ms(clock_mhz)


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


def _predict_spectrum_ms(spec: StreamSpec, clock_mhz: float) -> float:
    """Predict a spectrum: products, and beside none of them the splitting of what they take."""
    product = Gemm(spec.m, SPLITS * spec.k, spec.n, out_bytes=2).predict_ms(clock_mhz)
    tiles = spec.m * spec.n / TILE**2 / N_CORES
    return product + convert_cycles(tiles * spec.k / HALF * SPLIT_CYCLES, clock_mhz)


def _predict_attention_ms(spec: StreamSpec, clock_mhz: float) -> float:
    """Predict fused attention: a core keeps its queries; keys and values pass down its column."""
    heads = spec.n // TILE
    scores = heads * spec.m * spec.k / N_CORES  # scores of one core
    compute = scores * (2 * TILE / ATTENTION_MACS + EXP_CYCLES)
    passes = ceil(heads / COLUMNS) * ceil(spec.m / (COLUMNS * 6 * TILE))  # six query tiles a core
    streamed = passes * 2 * spec.k * TILE * 2 / STREAM_BYTES
    return convert_cycles(max(compute, streamed), clock_mhz)
