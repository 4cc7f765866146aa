"""Mistakes of a core or of a sequence, which the array would hang on or compute wrong with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlir.simulate import limits
from mlir.simulate.iron import Buffer, DesignError, Kernel, ObjectFifo, Tile
from mlir.simulate.run import run_program
from mlir.simulate.runtime import (
    CallbackRuntime,
    Runtime,
    TensorAccessPattern,
    install,
    make_group,
)
from tests.support.copy_design import WORDS, Copy, N, pass_barrier, run, words


def test_a_missing_release_names_core_and_fifo() -> None:
    def keep(source: Any, sink: Any, kernel: Kernel, barrier: Any) -> None:
        pass_barrier(barrier)
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
        pass_barrier(barrier)
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
        pass_barrier(barrier)
        for _ in range(N // 2):
            kernel(source.acquire(1), sink.acquire(1))
            source.release(1)
            sink.release(1)

    drain = ([1, 1, 1, N // 2 * WORDS], [0, 0, 0, 1], 0)
    with pytest.raises(DesignError, match=r"the sequence ended with 2 elements in in"):
        run(core=half, drain_tap=drain)


def test_acquire_beyond_the_depth() -> None:
    def hungry(*arguments: Any) -> None:
        pass_barrier(arguments[3])
        arguments[0].acquire(3)

    with pytest.raises(DesignError, match=r"in_core: acquire\(3\) exceeds depth 2"):
        run(core=hungry)


def test_a_kernel_with_other_arguments() -> None:
    def short(source: Any, sink: Any, kernel: Kernel, barrier: Any) -> None:
        pass_barrier(barrier)
        kernel(source.acquire(1)[:8], sink.acquire(1))

    with pytest.raises(DesignError, match="kernel copy_tile: an argument is not as declared"):
        run(core=short)


def test_a_barrier_set_while_its_core_runs() -> None:
    program = Copy().program()
    barrier, fill, *rest = program.runtime.steps
    program.runtime.steps = [barrier, fill, barrier, *rest]  # without a drain the core must wait
    x = np.zeros(N * WORDS, np.int32)
    with pytest.raises(DesignError, match=r"core tile \(0, 2\): its barrier is set while it still"):
        run_program(program, [x, x.copy()])


@pytest.mark.parametrize(
    ("step", "refusal"),
    [
        (0, r"only if a wait leaves the value \(1 or 0, waiting for 1\)"),
        (1, r"only if a wait takes the value \(2 or 1, waiting for 1\)"),
    ],
)
def test_a_barrier_that_is_right_under_one_reading_only(step: int, refusal: str) -> None:
    def copy(source: Any, sink: Any, kernel: Kernel, barrier: Any) -> None:
        barrier.wait_for_value(1)
        barrier.release_with_value(step)
        for _ in range(N):
            kernel(source.acquire(1), sink.acquire(1))
            source.release(1)
            sink.release(1)

    with pytest.raises(DesignError, match=r"core tile \(0, 2\): its barrier opens " + refusal):
        run(core=copy)


def test_an_element_held_at_the_barrier() -> None:
    def hold(source: Any, sink: Any, kernel: Kernel, barrier: Any) -> None:
        pass_barrier(barrier)
        for _ in range(N):
            kernel(source.acquire(1), sink.acquire(1))
            source.release(1)
            sink.release(1)
        sink.acquire(1)

    with pytest.raises(DesignError, match=r"1 of out_core at tile \(0, 2\) acquired and never rel"):
        run(core=hold)


def test_a_core_uses_only_what_it_was_given() -> None:
    stranger = Kernel("copy_tile", "attention.o", [words(WORDS), words(WORDS)])
    buffer = Buffer(words(4), name="own")

    def call(source: Any, sink: Any, *others: Any) -> None:
        pass_barrier(others[1])
        stranger(source.acquire(1), sink.acquire(1))

    def write(*arguments: Any) -> None:
        pass_barrier(arguments[3])
        arguments[4][0] = 1

    with pytest.raises(DesignError, match="copy_tile: not an argument of the worker that calls it"):
        run(core=call)
    with pytest.raises(DesignError, match="buffer own: written by neither sequence nor kernel"):
        run(core=write, buffers=[buffer])


def test_links_that_do_not_fit() -> None:
    whole = ObjectFifo(words(8), 2, "whole")
    with pytest.raises(DesignError, match="whole: only a consumer is split"):
        whole.prod().split([0], Tile(0, 1), [1], [words(4)], ["part"])
    with pytest.raises(DesignError, match="whole: only a producer is joined"):
        whole.cons().join([0], Tile(0, 1), [1], [words(4)], ["part"])
    program = Copy().program()
    link = next(fifo.producer.link for fifo in program.find_fifos() if fifo.name == "in_core")
    link.offsets[0] = 4
    with pytest.raises(DesignError, match="fifo in_core: reaches beyond in"):
        limits.check(program)


def test_two_fifos_of_one_name_and_an_end_without_a_user() -> None:
    program = Copy(extra_fifos=1).program()
    more = next(fifo for fifo in program.find_fifos() if fifo.name == "more0")
    more.consumers[0].tile = None
    with pytest.raises(DesignError, match="fifo more0: an end is used by no worker"):
        limits.check(program)
    more.name = "in"
    with pytest.raises(DesignError, match="two fifos are called in"):
        limits.check(program)


def test_transfers_of_another_sequence_or_a_finished_group() -> None:
    fifo, tap = ObjectFifo(words(4), 1, "f"), TensorAccessPattern([4], 0, [4], [1])
    runtime, other = Runtime(), Runtime()
    with runtime.sequence(words(4)) as data, other.sequence(words(4)) as foreign:
        group = runtime.task_group()
        with pytest.raises(DesignError, match="fifo f: buffer of another sequence"):
            runtime.fill(fifo.prod(), foreign, tap, group, tile=Tile(0, 0))
        runtime.finish_task_group(group)
        with pytest.raises(DesignError, match="fifo f: its task group is finished"):
            runtime.fill(fifo.prod(), data, tap, group, tile=Tile(0, 0))


def test_branches_on_fifos_are_refused() -> None:
    install()
    with pytest.raises(ImportError, match="use range_ with 0 or 1 turns"):
        from aie.helpers.dialects.scf import if_  # noqa: F401


def test_only_the_callback_moves_data() -> None:
    """What mlir-aie 1.4 lets the function of a Runtime do, and nobody else."""
    fifo, tap = ObjectFifo(words(4), 1, "f"), TensorAccessPattern([4], 0, [4], [1])
    with pytest.raises(DesignError, match="only the function that Runtime was given"):
        fifo.prod(tile=Tile(0, 0)).fill(None, tap=tap, group=None)
    with pytest.raises(DesignError, match="only the function that Runtime was given"):
        make_group()
    with pytest.raises(DesignError, match="not finished"):
        CallbackRuntime(lambda _: make_group(), [words(4)])


def test_a_task_group_must_be_finished() -> None:
    runtime = Runtime()
    with pytest.raises(DesignError, match="not finished"), runtime.sequence(words(4)):
        runtime.task_group()
