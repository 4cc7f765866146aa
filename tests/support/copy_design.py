"""A small sound design whose every part can be replaced: host -> core, which copies -> host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlir.simulate.iron import NPU1, Buffer, Kernel, ObjectFifo, Tile, Worker, WorkerRuntimeBarrier
from mlir.simulate.run import run_program
from mlir.simulate.runtime import Program, Runtime, TensorAccessPattern

WORDS = 2048
N = 4  # elements that pass


def words(n: int, dtype: type = np.int32) -> Any:
    """Return the type of `n` words."""
    return np.ndarray[(n,), np.dtype[dtype]]


def pass_barrier(barrier: Any) -> None:
    """Wait in a core for the sequence, and step off as `mlir.designs.whisper` does."""
    barrier.wait_for_value(1)
    barrier.release_with_value(2)


class Copy:
    """Host -> memory tile -> core, which copies -> memory tile -> host; every part replaceable."""

    def __init__(self, **changes: Any) -> None:
        self.stack = 1024
        self.depth = 2
        self.core_tile = Tile(0, 2)
        self.memory_tile = Tile(0, 1)
        self.shim_tile = Tile(0, 0)
        self.buffers: list[Buffer] = []
        self.extra_fifos = 0
        self.fill_tap = ([1, 1, 1, N * WORDS], [0, 0, 0, 1], 0)
        self.drain_tap = self.fill_tap
        self.data_type: Any = words(N * WORDS)
        self.n_fills = 1
        self.await_drain = True
        self.core: Callable[..., None] | None = None
        self.__dict__.update(changes)

    def program(self) -> Program:
        """Make the program of the design."""
        element = words(WORDS)
        source, sink = ObjectFifo(element, self.depth, "in"), ObjectFifo(element, 2, "out")
        inner = source.cons().forward(tile=self.memory_tile, depth=self.depth, name="in_core")
        outer = sink.prod().join([0], self.memory_tile, [1], [element], ["out_core"])[0]
        kernel = Kernel("copy_tile", "attention.o", [element, element])
        barrier = WorkerRuntimeBarrier()
        more = [ObjectFifo(element, 1, f"more{i}") for i in range(self.extra_fifos)]
        ends = [fifo.cons() for fifo in more]
        arguments = [inner.cons(), outer.prod(), kernel, barrier, *self.buffers, *ends]
        core = self.core or self.copy
        worker = Worker(core, arguments, tile=self.core_tile, stack_size=self.stack)
        runtime = Runtime()
        with runtime.sequence(self.data_type, self.data_type) as (x, y):
            runtime.start(worker)
            runtime.set_barrier(barrier, 1)
            group = runtime.task_group()
            for fifo in more:
                runtime.fill(fifo.prod(), x, self.tap(self.fill_tap), group, tile=Tile(1, 0))
            for _ in range(self.n_fills):
                runtime.fill(source.prod(), x, self.tap(self.fill_tap), group, tile=self.shim_tile)
            runtime.drain(
                sink.cons(),
                y,
                self.tap(self.drain_tap),
                group,
                wait=self.await_drain,
                tile=self.shim_tile,
            )
            runtime.finish_task_group(group)
        return Program(NPU1(), runtime)

    def tap(self, of: tuple[list[int], list[int], int]) -> TensorAccessPattern:
        """Return a pattern on the host buffer."""
        sizes, strides, offset = of
        return TensorAccessPattern([N * WORDS], offset, list(sizes), list(strides))

    @staticmethod
    def copy(source: Any, sink: Any, kernel: Kernel, barrier: Any, *_: Any) -> None:
        """Copy N elements."""
        pass_barrier(barrier)
        for _ in range(N):
            kernel(source.acquire(1), sink.acquire(1))
            source.release(1)
            sink.release(1)


def run(**changes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Run the copy with changes; return what went in and what came out."""
    x = np.arange(N * WORDS, dtype=np.int32)
    y = np.zeros_like(x)
    run_program(Copy(**changes).program(), [x, y])
    return x, y
