"""The one overlay of Whisper's encoder: gemm, attention, layernorm, spectrum on 4 x 4 cores.

The array is the same for every operation; only the sequence, which moves data between device
memory and the array and sets the run-time parameters, differs. `spec.py` defines the
operations and layouts, `mlir/README.md` draws this file.

    python -m mlir.designs.whisper '{"op": "gemm", "m": 1536, ...}' gemm attention layernorm

prints the MLIR of a stream, for the array whose cores hold the operations named.

Everything moves as 4-byte words: a DMA knows no bf16, and neither does the calling convention.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from aie.iron import Buffer, Kernel, ObjectFifo, Program, Worker, WorkerRuntimeBarrier
from aie.iron.controlflow import range_
from aie.iron.device import NPU1, Tile

from mlir.designs import sequence as sequences
from mlir.designs.movement import ROWS, WORDS, Movement, count_results
from mlir.designs.sequence import End
from whisper_npu_cli.engines.npu.spec import COLUMNS, EPILOGUES, HALF, PASS, TILE, UNITS, StreamSpec

# ---------------------------------------------------------------------------------- shapes

STATE = 3 * 256  # fp32 words of attention: maxima, sums, one strip of scores
STACK = 0x900  # bytes; the default of 1024 overflows silently
IN_FLIGHT = 2  # output blocks; each has up to two pushes in a queue of four
OPEN = 1  # what the sequence sets a barrier to once a core's parameters are written
STEP = 2  # what a core adds after its wait: 3 if the wait leaves the value, 2 if it takes it


def words(n: int, dtype: type = np.int32) -> Any:
    """Return the type of `n` words."""
    return np.ndarray[(n,), np.dtype[dtype]]


ELEMENT = words(WORDS)
ACCUMULATOR = words(2 * WORDS, np.float32)
SUMS = words(STATE, np.float32)

# Run-time parameters. Most are trip counts: a loop that runs 0 times or once needs no `if`, whose
# branches IRON miscompiles where both use one fifo.
(
    ORDER,  # of a bf16 store, 0: as A, 1: as keys, 2: as values; this and the next two: epilogue.cc
    LEFT,  # tiles in this order
    TURN,  # tiles in each order
    UNIT,  # layernorm, with the next six in layernorm.cc: which 8 rows
    GROUP,  # which group of four tiles
    KEEPING,  # 0: rows are summed, 1: they are only kept
    TWICE,  # 1: rows pass twice
    GROUPS,  # groups of four tiles in a row
    COUNTED,  # tiles that count in a row
    INVERSE,  # bits of fp32 1 / valid columns
    TILES,  # gemm: output tiles of a core
    STEPS,  # steps of 64 in K; spectrum: of 32 samples in a frame
    GELU,  # 0 or 1
    RESIDUAL,  # 0 or 1
    OPERAND,  # 1: store bf16
    SINGLE,  # 1: store fp32
    QUERIES,  # attention: tiles of queries of a core
    KEYS,  # tiles of keys but the last
    LAST_KEYS,  # valid keys of the last tile
    STRIPES,  # layernorm: blocks
    BEFORE,  # elements that are summed before the first output
    RESULTS,  # elements of output in a block
    STRETCHES,  # of 8 rows in one
    EACH,  # elements that pass for a stretch
    SPECTRA,  # spectrum: output tiles of a core
    N_PARAMETERS,
) = range(26)
PARAMETERS = words(N_PARAMETERS)

# ----------------------------------------------------------------------------------- fifos


def make_fifos() -> tuple[list[ObjectFifo], list[ObjectFifo], list[ObjectFifo], dict[Any, Any]]:
    """Return the shim's ends of A, B and C by column, and the cores' ends by (column, row).

    A: one stream per row of cores, broadcast to its four columns. B: one per column, broadcast
    to its four rows. C: four cores' tiles joined in the memory tile of their column. Memory tiles
    hold four elements of A and of B; two do as well in the simulator, which knows no latency of
    device memory.
    """
    a_in = [ObjectFifo(ELEMENT, depth=4, name=f"a{row}") for row in range(ROWS)]
    b_in = [ObjectFifo(ELEMENT, depth=4, name=f"b{column}") for column in range(COLUMNS)]
    c_out = [ObjectFifo(words(ROWS * WORDS), depth=2, name=f"c{i}") for i in range(COLUMNS)]
    a_core = [
        fifo.cons().forward(tile=Tile(row, 1), depth=2, name=f"a{row}_core")
        for row, fifo in enumerate(a_in)
    ]
    b_core = [
        fifo.cons().forward(tile=Tile(column, 1), depth=2, name=f"b{column}_core")
        for column, fifo in enumerate(b_in)
    ]
    cores = {}
    for column, fifo in enumerate(c_out):
        parts = fifo.prod().join(
            [row * WORDS for row in range(ROWS)],
            tile=Tile(column, 1),
            depths=[1] * ROWS,  # a second element would not fit into the core
            obj_types=[ELEMENT] * ROWS,
            names=[f"c{column}_core{row}" for row in range(ROWS)],
        )
        for row in range(ROWS):
            cores[column, row] = (a_core[row].cons(), b_core[column].cons(), parts[row].prod())
    return a_in, b_in, c_out, cores


# ------------------------------------------------------------------------------- core task

KERNELS = {
    "start_tile": ("gemm.o", [ELEMENT, ACCUMULATOR]),
    "multiply_tile": ("gemm.o", [ELEMENT, ELEMENT, ACCUMULATOR]),
    "gelu_tile": ("epilogue.o", [ACCUMULATOR]),
    "add_residual": ("epilogue.o", [ELEMENT, ACCUMULATOR, np.int32]),
    "store_f32": ("epilogue.o", [ACCUMULATOR, ELEMENT, np.int32]),
    "store_operand": ("epilogue.o", [ACCUMULATOR, ELEMENT, PARAMETERS]),
    "copy_tile": ("attention.o", [ELEMENT, ELEMENT]),
    "start_attention": ("attention.o", [ACCUMULATOR, words(STATE, np.float32)]),
    "softmax_tile": (
        "attention.o",
        [ELEMENT, ELEMENT, ELEMENT, ACCUMULATOR, words(STATE, np.float32), np.int32],
    ),
    "finish_attention": ("attention.o", [ACCUMULATOR, words(STATE, np.float32), ELEMENT]),
    "add_rows": ("layernorm.o", [ELEMENT, ACCUMULATOR, SUMS, PARAMETERS, np.int32]),
    "finish_rows": ("layernorm.o", [SUMS, PARAMETERS]),
    "normalise_rows": ("layernorm.o", [ACCUMULATOR, SUMS, ELEMENT, PARAMETERS]),
    "split_tile": ("spectrum.o", [ELEMENT, ELEMENT]),
    "store_power": ("spectrum.o", [ACCUMULATOR, ELEMENT]),
}


OPERATIONS = {
    "gemm": (
        *("start_tile", "multiply_tile", "gelu_tile"),
        *("add_residual", "store_f32", "store_operand"),
    ),
    "attention": (
        *("copy_tile", "start_attention", "softmax_tile"),
        *("multiply_tile", "finish_attention"),
    ),
    "layernorm": ("add_rows", "finish_rows", "normalise_rows"),
    "spectrum": ("start_tile", "split_tile", "multiply_tile", "store_power"),
}


class Core:
    """What one core does between two waits for the barrier: `run` and its operations."""

    def __init__(
        self, column: int, row: int, operations: Sequence[str], kernels: dict[str, Kernel]
    ) -> None:
        self.column = column
        self.row = row
        self.operations = operations
        self.__dict__.update(kernels)

    def run(self, *arguments):
        """Run the operations whose trip counts are not zero.

        The barrier is stepped off before the work: the sequence opens it again only after all
        output has arrived, so not before this core is back at its wait.
        """
        a, b, c, acc, state, rtp, barrier = arguments[:7]  # then the kernels, which it has
        barrier.wait_for_value(OPEN)
        barrier.release_with_value(STEP)
        if "gemm" in self.operations:
            for _ in range_(rtp[TILES]):
                self.gemm(a, b, c, acc, rtp)
        if "attention" in self.operations:
            for _ in range_(rtp[QUERIES]):
                self.attention(a, b, c, acc, state, rtp)
        if "layernorm" in self.operations:
            for _ in range_(rtp[STRIPES]):
                self.layernorm(a, b, c, acc, state, rtp)
        if "spectrum" in self.operations:
            for _ in range_(rtp[SPECTRA]):
                self.spectrum(a, b, c, acc, rtp)

    def gemm(self, a, b, c, acc, rtp):
        """Compute one output tile: bias, K, epilogue."""
        self.start_tile(b.acquire(1), acc)
        b.release(1)
        for _ in range_(rtp[STEPS]):
            self.multiply_tile(a.acquire(1), b.acquire(1), acc)
            a.release(1)
            b.release(1)
        for _ in range_(rtp[GELU]):
            self.gelu_tile(acc)
        for _ in range_(rtp[RESIDUAL]):  # a half by each stream; this core takes its own
            for number in range(ROWS):
                for half, (stream, own) in enumerate(((a, self.column), (b, self.row))):
                    tile = stream.acquire(1)
                    if number == own:
                        self.add_residual(tile, acc, half)
                    stream.release(1)
        for _ in range_(rtp[OPERAND]):
            self.store_operand(acc, c.acquire(1), rtp)
            c.release(1)
        for _ in range_(rtp[SINGLE]):
            for half in range(2):
                self.store_f32(acc, c.acquire(1), half)
                c.release(1)

    def attention(self, a, b, c, acc, state, rtp):
        """Compute one tile of queries of this column's head, over all keys.

        The output element holds the queries until the output overwrites them. The last of the
        four tiles of queries stays acquired: its 8 KB hold the probabilities.
        """
        query = c.acquire(1)
        for column in range(COLUMNS):
            tile = a.acquire(1)
            if column == self.column:
                self.copy_tile(tile, query)
            if column < COLUMNS - 1:
                a.release(1)
        self.start_attention(acc, state)
        for _ in range_(rtp[KEYS]):
            self.softmax_tile(query, b.acquire(1), tile, acc, state, TILE)
            b.release(1)
            self.multiply_tile(tile, b.acquire(1), acc)
            b.release(1)
        self.softmax_tile(query, b.acquire(1), tile, acc, state, rtp[LAST_KEYS])
        b.release(1)
        self.multiply_tile(tile, b.acquire(1), acc)
        b.release(1)
        a.release(1)
        self.finish_attention(acc, state, query)
        c.release(1)

    def layernorm(self, a, b, c, acc, state, rtp):
        """Normalise this core's tile of every four, 8 rows at a time.

        The rows of 8 pass once, and a core keeps its share of them; or all 64 are summed first, and
        pass again. The kernels count groups and rows, and so know what an element is.
        """
        b.acquire(1)  # not read, but every sequence must use every fifo
        b.release(1)
        for _ in range_(rtp[BEFORE]):
            self.add_rows(a.acquire(1), acc, state, rtp, self.column)
            a.release(1)
        for _ in range_(rtp[RESULTS]):
            out = c.acquire(1)
            for _ in range_(rtp[STRETCHES]):
                for _ in range_(rtp[EACH]):
                    self.add_rows(a.acquire(1), acc, state, rtp, self.column)
                    a.release(1)
                self.finish_rows(state, rtp)
                self.normalise_rows(acc, state, out, rtp)
            c.release(1)

    def spectrum(self, a, b, c, acc, rtp):
        """Compute the power of 64 frames at 32 frequencies.

        The output element holds the samples' parts until the power overwrites them; they are
        multiplied by the basis' high parts, then by its low ones.
        """
        self.start_tile(b.acquire(1), acc)
        b.release(1)
        parts = c.acquire(1)
        for _ in range_(rtp[STEPS]):
            self.split_tile(a.acquire(1), parts)
            a.release(1)
            for _ in range(2):
                self.multiply_tile(parts, b.acquire(1), acc)
                b.release(1)
        self.store_power(acc, parts)
        c.release(1)


# ----------------------------------------------------------------- run-time parameters of a stream


def choose_parameters(spec: StreamSpec) -> dict[int, int]:
    """Return the run-time parameters that matter; the counts of the other operations are 0."""
    none = {TILES: 0, QUERIES: 0, STRIPES: 0, SPECTRA: 0}
    blocks = (spec.m // PASS) * (spec.n // PASS)
    if spec.op == "attention":
        last = spec.valid - (spec.k - TILE)
        return none | {QUERIES: blocks, KEYS: spec.k // TILE - 1, LAST_KEYS: last}
    if spec.op == "layernorm":
        inverse = (np.float32(1) / np.float32(spec.valid)).view(np.int32)
        groups, once = spec.n // PASS, spec.n_passes == 1
        return none | {
            STRIPES: blocks // count_results(spec),
            BEFORE: 0 if once else UNITS * groups,
            RESULTS: count_results(spec),
            STRETCHES: UNITS // groups if once else UNITS,
            EACH: groups if once else 1,
            **dict.fromkeys((UNIT, GROUP, KEEPING), 0),
            TWICE: int(not once),
            GROUPS: groups,
            COUNTED: spec.valid // TILE,
            INVERSE: int(inverse),
        }
    if spec.op == "spectrum":
        return none | {SPECTRA: blocks, STEPS: spec.k // HALF}
    epilogue = EPILOGUES[spec.epilogue]
    return none | {
        TILES: blocks,
        STEPS: spec.k // TILE,
        GELU: int(epilogue.gelu),
        RESIDUAL: int(epilogue.residual),
        OPERAND: int(epilogue.layout != "c"),
        ORDER: 0,
        LEFT: blocks // spec.n_outputs,
        TURN: blocks // spec.n_outputs,
        SINGLE: int(epilogue.layout == "c"),
    }


# --------------------------------------------------------------------------------- program


def make_workers(
    cores: dict[Any, Any], operations: Sequence[str]
) -> tuple[list[Worker], list[Buffer], list[WorkerRuntimeBarrier]]:
    """Return the workers of `cores`, with their run-time parameters and their barriers."""
    names = dict.fromkeys(name for operation in operations for name in OPERATIONS[operation])
    kernels = {name: Kernel(name, *KERNELS[name]) for name in names}
    workers, rtps, barriers = [], [], []
    for (column, row), fifos in cores.items():
        where = f"{column}_{row}"
        rtps.append(Buffer(PARAMETERS, name=f"rtp{where}", use_write_rtp=True))
        barriers.append(WorkerRuntimeBarrier())
        buffers = [
            Buffer(ACCUMULATOR, name=f"acc{where}"),
            Buffer(words(STATE, np.float32), name=f"state{where}"),
        ]
        # kernels are arguments too: only what is an argument is declared in the module
        arguments = [*fifos, *buffers, rtps[-1], barriers[-1], *kernels.values()]
        core = Core(column, row, operations, kernels)
        workers.append(Worker(core.run, arguments, tile=Tile(column, 2 + row), stack_size=STACK))
    return workers, rtps, barriers


def make_program(spec: StreamSpec, operations: Sequence[str] = tuple(OPERATIONS)) -> Program:
    """Return the array with the sequence of `spec`; its cores hold `operations`."""
    a_in, b_in, c_out, cores = make_fifos()
    workers, rtps, barriers = make_workers(cores, operations)
    values = choose_parameters(spec)

    def set_parameters(*all_rtps: Buffer) -> None:
        for rtp in all_rtps:
            for index, value in values.items():
                rtp[index] = value

    movement = Movement(spec)
    a_ends = [End(fifo, Tile(row, 0), fills=True) for row, fifo in enumerate(a_in)]
    b_ends = [End(fifo, Tile(column, 0), fills=True) for column, fifo in enumerate(b_in)]
    c_ends = [End(fifo, Tile(column, 0), fills=False) for column, fifo in enumerate(c_out)]

    def steps(sequence, *buffers):
        roles = (argument.role for argument in spec.arguments)
        data = dict(zip(roles, buffers, strict=True))
        sequence.write(set_parameters, rtps)
        for barrier in barriers:
            sequence.set(barrier, OPEN)
        groups = []
        for i, j in movement.list_blocks():
            group = sequence.open_group()
            groups.append(group)
            for row, end in enumerate(a_ends):
                for role, tap in movement.feed_a(i, j, row):
                    sequence.fill(end, data[role], tap, group)
            for column, end in enumerate(b_ends):
                for role, tap in movement.feed_b(i, j, column):
                    sequence.fill(end, data[role], tap, group)
            for column, end in enumerate(c_ends):
                for role, tap in movement.collect_c(i, j, column):
                    sequence.drain(end, data[role], tap, group)
            if len(groups) == IN_FLIGHT:
                sequence.finish(groups.pop(0))
        for group in groups:
            sequence.finish(group)

    types = [words(argument.size_bytes // 4) for argument in spec.arguments]
    return sequences.make_program(NPU1(), workers, types, [*a_ends, *b_ends, *c_ends], steps)


if __name__ == "__main__":
    print(make_program(StreamSpec(**json.loads(sys.argv[1])), sys.argv[2:]).resolve_program())
