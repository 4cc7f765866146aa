"""Phases of a team: each task once, each phase after the one before, with any number of threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numba import types

from whisper_npu_cli.engines.numba_decoder.calls import load, number_of, point_at
from whisper_npu_cli.engines.numba_decoder.code import Packed
from whisper_npu_cli.engines.numba_decoder.compiling import kernel
from whisper_npu_cli.engines.numba_decoder.kinds import I64
from whisper_npu_cli.engines.numba_decoder.team import phase
from whisper_npu_cli.engines.numba_decoder.threads import (
    count_threads,
    make_team,
    run_tasks,
    run_team,
    threads,
)

SIZES = np.array([5, 1, 40, 7, 300])  # tasks of the phases
MEMBER = (types.int64, I64[1], I64[1], I64[2], I64[2])


@kernel(types.int64, I64[2], I64[2])
def count_task(i, arguments):  # type: ignore[no-untyped-def]
    """Count the task, and note how many of the phase before are done."""
    number, done, seen = load(arguments)
    seen[number, i] = done[number - 1].sum() if number > 0 else 0
    done[number, i] += 1


@kernel(*MEMBER)
def go_through(_member, arguments):  # type: ignore[no-untyped-def]
    task, team, sizes, done, seen = load(arguments)
    at = np.int64(0)
    for number in range(sizes.size):
        counted = point_at((number, done, seen))
        at = phase(team, at, sizes[number], task, number_of(counted))


# More members than cores: some begin when others have done everything, and must not be waited for.
@pytest.mark.parametrize("n_threads", [1, 2, 8])
def test_every_task_is_done_once_and_after_the_phase_before(n_threads: int) -> None:
    team = make_team()
    for _ in range(50):
        done, seen = np.zeros((2, len(SIZES), SIZES.max()), np.int64)
        with threads(n_threads):
            run_team(team, go_through, Packed(count_task.address, team, SIZES, done, seen))
        expected = np.arange(SIZES.max()) < SIZES[:, None]
        np.testing.assert_array_equal(done, expected)
        np.testing.assert_array_equal(seen[1:], expected[1:] * SIZES[:-1, None])


@kernel(I64[1])
def note_number(i, arguments):  # type: ignore[no-untyped-def]
    (seen,) = load(arguments)
    seen[i] += i


@pytest.mark.parametrize("n_tasks", [1, 3, 200])
def test_tasks_are_spread_over_threads_once_each(n_tasks: int) -> None:
    seen = np.zeros(n_tasks, np.int64)
    with threads(3):
        run_tasks(note_number, n_tasks, seen)
    np.testing.assert_array_equal(seen, np.arange(n_tasks))


def test_callers_on_several_threads_take_turns() -> None:
    def run(n_tasks: int) -> list[int]:
        seen = np.zeros(n_tasks, np.int64)
        with threads(2):
            for _ in range(100):
                run_tasks(note_number, n_tasks, seen)
        return seen.tolist()

    with ThreadPoolExecutor(4) as pool:
        for n_tasks, seen in enumerate(pool.map(run, range(2, 12)), start=2):
            assert seen == [100 * i for i in range(n_tasks)]


def test_the_number_of_threads_is_that_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    with threads(3):
        assert count_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(count_threads).result() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    with threads(3):
        assert count_threads() == 2


def test_a_forked_process_has_threads_of_its_own() -> None:
    seen = np.zeros(4, np.int64)
    with threads(2):
        run_tasks(note_number, 4, seen)
        pid = os.fork()
        if pid == 0:
            run_tasks(note_number, 4, seen)
            os._exit(int(seen.tolist() != [0, 2, 4, 6]))
    assert os.waitpid(pid, 0)[1] == 0
