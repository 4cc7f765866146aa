"""Each limit of the array, broken by a small design that is otherwise sound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlir.simulate import limits
from mlir.simulate.iron import (
    NPU1,
    Buffer,
    DesignError,
    Kernel,
    ObjectFifo,
    Tile,
    Worker,
    WorkerRuntimeBarrier,
)
from mlir.simulate.run import run_program
from mlir.simulate.runtime import Program, Runtime, TensorAccessPattern, Transfer, install

WORDS = 2048
N = 4  # elements that pass


def words(n: int, dtype: type = np.int32) -> Any:
    return np.ndarray[(n,), np.dtype[dtype]]


class Copy:
    """Host -> memory tile -> core, which copies -> memory tile -> host; every part replaceable."""

    def __init__(self, **changes: Any) -> None:
        self.n_turns = 1
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
        self.finish_first = False
        self.core: Callable[..., None] | None = None
        self.__dict__.update(changes)

    def program(self) -> Program:
        """Return the program."""
        element = words(WORDS)
        source, sink = ObjectFifo(element, self.depth, "in"), ObjectFifo(element, 2, "out")
        inner = source.cons().forward(tile=self.memory_tile, name="in_core")
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
                sink.cons(), y, self.tap(self.drain_tap), group, self.await_drain, self.shim_tile
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
        barrier.wait_for_value(1)
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


def test_the_sound_design_copies() -> None:
    x, y = run()
    assert np.array_equal(x, y)


def test_taps_reorder() -> None:
    halves = ([1, 2, N, WORDS // 2], [0, WORDS // 2, WORDS, 1], 0)
    with pytest.raises(DesignError, match=r"fifo in: wrap 1024, at most 1023"):
        run(fill_tap=halves)
    quarters = ([4, N, 1, WORDS // 4], [WORDS // 4, WORDS, 0, 1], 0)
    x, y = run(fill_tap=quarters)
    assert np.array_equal(y, x.reshape(N, 4, WORDS // 4).swapaxes(0, 1).reshape(-1))
    x, y = run(drain_tap=quarters)
    assert np.array_equal(y, x.reshape(4, N, WORDS // 4).swapaxes(0, 1).reshape(-1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"core_tile": Tile(4, 2)}, r"tile \(4, 2\): npu1 has columns 0 to 3"),
        ({"core_tile": Tile(0, 1)}, r"tile \(0, 1\): not a core"),
        ({"memory_tile": Tile(0, 3)}, r"tile \(0, 3\) is no memory tile"),
        ({"shim_tile": Tile(0, 1)}, r"through shim tiles only"),
        ({"extra_fifos": 2}, r"tile \(0, 2\): 3 DMA channels in, a core has 2"),
        ({"depth": 25}, r"tile \(0, 1\): .* descriptors"),
        ({"stack": 49152}, r"tile \(0, 2\): 73736 bytes, a core has 65536 \(stack 49152"),
        ({"fill_tap": ([1, 1, 1, WORDS + 2], [0, 0, 0, 1], 0)}, r"no whole elements"),
        ({"fill_tap": ([1, 1, 1, WORDS], [0, 0, 0, 1], N * WORDS - 4)}, r"reaches element"),
        ({"fill_tap": ([1, N, 2, 1024], [0, 2048, 1024, 1], 0)}, r"wrap 1024"),
        ({"fill_tap": ([1, 2, 1024, 4], [0, 4096, 4, 1], 0)}, r"wrap 1024, at most 1023"),
        ({"fill_tap": ([128, 4, 4, 4], [4, 4, 4, 1], 0)}, r"outermost size 128, at most 64"),
        ({"fill_tap": ([1, N, 4, 512], [0, 0, 512, 1], 0)}, r"stride 0"),
        ({"fill_tap": ([1, 1, 1, N, WORDS], [0, 0, 0, WORDS, 1], 0)}, r"5 dimensions, at most 4"),
        ({"n_fills": 6}, r"fifo in: more than 4 transfers in the queue"),
        ({"n_fills": 2}, r"descriptor is freed while it runs|elements in|ended before"),
        ({"await_drain": False}, r"descriptor is freed while it runs"),
        ({"data_type": words(N * WORDS + 1)}, r"buffer 0: .* not as declared"),
    ],
)
def test_a_broken_limit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DesignError, match=message):
        run(**changes)


def joined(n: int, depth: int = 1, core_depth: int = 1, n_words: int = 4) -> Program:
    """Return `n` cores, whose elements a memory tile joins for the host."""
    whole = ObjectFifo(words(n * n_words), depth, "whole")
    parts = whole.prod().join(
        [i * n_words for i in range(n)],
        Tile(0, 1),
        [core_depth] * n,
        [words(n_words)] * n,
        [f"part{i}" for i in range(n)],
    )
    runtime = Runtime()
    with runtime.sequence(words(n * n_words)) as out:
        for i, part in enumerate(parts):
            runtime.start(Worker(lambda: None, [part.prod()], tile=Tile(i % 4, 2 + i // 4)))
        group = runtime.task_group()
        tap = TensorAccessPattern([n * n_words], 0, [1, 1, 1, n * n_words], [0, 0, 0, 1])
        runtime.drain(whole.cons(), out, tap, group, wait=True, tile=Tile(0, 0))
        runtime.finish_task_group(group)
    return Program(NPU1(), runtime)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 7}, r"tile \(0, 1\): 7 DMA channels in, a memory tile has 6"),
        ({"n": 4, "depth": 7}, r"tile \(0, 1\): 56 descriptors, a memory tile has 48"),
        # refused by the compiler, too, at this depth
        ({"n": 4, "depth": 5}, r"tile \(0, 1\): 30 descriptors for channels of one .*at most 24"),
        ({"n": 1, "core_depth": 17}, r"tile \(0, 2\): 17 descriptors, a core has 16"),
        (
            {"n": 4, "depth": 4, "n_words": 10240},
            r"tile \(0, 1\): 655360 bytes, a memory tile has 524288 \(whole 655360\)",
        ),
    ],
)
def test_a_broken_limit_of_a_joining_tile_is_named(changes: dict[str, int], message: str) -> None:
    limits.check(joined(4, depth=4))
    with pytest.raises(DesignError, match=message):
        limits.check(joined(**changes))


def test_two_channels_out_of_a_shim_and_a_core() -> None:
    fifos = [ObjectFifo(words(4), 1, f"f{i}") for i in range(3)]
    runtime = Runtime()
    with runtime.sequence(words(4)) as data:
        group = runtime.task_group()
        for column, fifo in enumerate(fifos):
            runtime.start(Worker(lambda: None, [fifo.cons()], tile=Tile(column, 2)))
            tap = TensorAccessPattern([4], 0, [1, 1, 1, 4], [0, 0, 0, 1])
            runtime.fill(fifo.prod(), data, tap, group, tile=Tile(0, 0))
        runtime.finish_task_group(group)
    with pytest.raises(DesignError, match=r"tile \(0, 0\): 3 DMA channels out, a shim has 2"):
        limits.check(Program(NPU1(), runtime))
    runtime.steps.clear()
    for fifo in fifos:
        fifo.producer = None
    runtime.start(Worker(lambda: None, [fifo.prod() for fifo in fifos], tile=Tile(3, 3)))
    with pytest.raises(DesignError, match=r"tile \(3, 3\): 3 DMA channels out, a core has 2"):
        limits.check(Program(NPU1(), runtime))


def test_steps_beyond_20_bits() -> None:
    far = ([1, 1, 4, 512], [0, 0, 2**20 + 1, 1], 0)
    with pytest.raises(DesignError, match="step 1048577, at most 1048576"):
        run(fill_tap=far)


def test_runs_of_two_bytes() -> None:
    copy = Copy(data_type=words(2 * N * WORDS, np.int16))
    copy.fill_tap = ([1, 1, 64, 64], [0, 0, 1, 64], 0)
    with pytest.raises(DesignError, match="innermost stride 64"):
        run_program(copy.program(), [])
    copy.fill_tap = ([1, 1, 1, 4095], [0, 0, 0, 1], 0)
    with pytest.raises(DesignError, match="multiples of 4 bytes"):
        run_program(copy.program(), [])


def test_sixteen_descriptors_per_shim() -> None:
    program = Copy().program()
    fill = program.runtime.steps[1]
    assert isinstance(fill, Transfer)
    program.runtime.steps[1:2] = [fill] * 17
    with pytest.raises(DesignError, match=r"tile \(0, 0\).*more than 16 descriptors in use"):
        limits.check(program)


def test_a_missing_release_names_core_and_fifo() -> None:
    def keep(source: Any, sink: Any, kernel: Kernel, barrier: Any) -> None:
        barrier.wait_for_value(1)
        for _ in range(N):
            kernel(source.acquire(1), sink.acquire(1))
            sink.release(1)

    with pytest.raises(DesignError, match=r"in_core at tile \(0, 2\)"):
        run(core=keep)


def test_a_release_too_many() -> None:
    def twice(source: Any, sink: Any, kernel: Kernel, barrier: Any) -> None:
        Copy.copy(source, sink, kernel, barrier)
        sink.release(1)

    with pytest.raises(DesignError, match=r"release\(1\) of out_core at tile \(0, 2\), 0 held"):
        run(core=twice)


def test_a_deadlock_names_tiles_and_fifos() -> None:
    def greedy(source: Any, sink: Any, kernel: Kernel, barrier: Any) -> None:
        Copy.copy(source, sink, kernel, barrier)
        source.acquire(1)

    def lazy(source: Any, sink: Any, kernel: Kernel, barrier: Any) -> None:
        barrier.wait_for_value(1)
        kernel(source.acquire(1), sink.acquire(1))
        source.acquire(2)
        source.release(2)
        source.acquire(2)
        source.release(2)
        source.acquire(1)

    with pytest.raises(DesignError, match=r"core tile \(0, 2\) waits for an element of in_core"):
        run(core=greedy)
    with pytest.raises(DesignError, match=r"deadlock: .*fifo out .*words\); core tile \(0, 2\)"):
        run(core=lazy)


def test_data_that_nobody_takes() -> None:
    def half(source: Any, sink: Any, kernel: Kernel, barrier: Any) -> None:
        barrier.wait_for_value(1)
        for _ in range(N // 2):
            kernel(source.acquire(1), sink.acquire(1))
            source.release(1)
            sink.release(1)

    drain = ([1, 1, 1, N // 2 * WORDS], [0, 0, 0, 1], 0)
    with pytest.raises(DesignError, match=r"the sequence ended with 2 elements in in"):
        run(core=half, drain_tap=drain)


def test_acquire_beyond_the_depth() -> None:
    def hungry(*arguments: Any) -> None:
        arguments[3].wait_for_value(1)
        arguments[0].acquire(3)

    with pytest.raises(DesignError, match=r"in_core: acquire\(3\) exceeds depth 2"):
        run(core=hungry)


def test_locks_of_a_core() -> None:
    barriers = [WorkerRuntimeBarrier() for _ in range(13)]
    with pytest.raises(DesignError, match=r"tile \(0, 2\): 18 locks, at most 16"):
        run(buffers=barriers)


def test_a_kernel_with_other_arguments() -> None:
    def short(source: Any, sink: Any, kernel: Kernel, barrier: Any) -> None:
        barrier.wait_for_value(1)
        kernel(source.acquire(1)[:8], sink.acquire(1))

    with pytest.raises(DesignError, match="kernel copy_tile: an argument is not as declared"):
        run(core=short)


def test_two_workers_on_one_tile_and_six_buffers() -> None:
    program = Copy().program()
    program.runtime.workers *= 2
    with pytest.raises(DesignError, match="two workers"):
        run_program(program, [])
    program = Copy().program()
    program.runtime.data *= 3
    with pytest.raises(DesignError, match="6 buffers, at most 5"):
        run_program(program, [])


def test_branches_on_fifos_are_refused() -> None:
    install()
    with pytest.raises(ImportError, match="use range_ with 0 or 1 turns"):
        from aie.helpers.dialects.scf import if_  # noqa: F401


def test_a_task_group_must_be_finished() -> None:
    runtime = Runtime()
    with pytest.raises(DesignError, match="not finished"), runtime.sequence(words(4)):
        runtime.task_group()
