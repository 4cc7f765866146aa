"""Each limit of the array, broken by a small design that is otherwise sound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlir.simulate import limits
from mlir.simulate.iron import NPU1, DesignError, ObjectFifo, Tile, Worker, WorkerRuntimeBarrier
from mlir.simulate.run import run_program
from mlir.simulate.runtime import Program, Runtime, TensorAccessPattern, Transfer
from tests.support.copy_design import WORDS, Copy, N, run, words


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


def test_locks_of_a_core() -> None:
    barriers = [WorkerRuntimeBarrier() for _ in range(13)]
    with pytest.raises(DesignError, match=r"tile \(0, 2\): 18 locks, at most 16"):
        run(buffers=barriers)


def test_two_workers_on_one_tile_and_six_buffers() -> None:
    program = Copy().program()
    program.runtime.workers *= 2
    with pytest.raises(DesignError, match="two workers"):
        run_program(program, [])
    program = Copy().program()
    program.runtime.data *= 3
    with pytest.raises(DesignError, match="6 buffers, at most 5"):
        run_program(program, [])
