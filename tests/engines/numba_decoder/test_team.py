"""Phases of a team: each task once, each phase after the one before, with any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from numba import types

from whisper_npu_cli.engines.numba_decoder.arrays import I64
from whisper_npu_cli.engines.numba_decoder.calls import load, number_of, point_at
from whisper_npu_cli.engines.numba_decoder.compiling import entry, kernel
from whisper_npu_cli.engines.numba_decoder.team import make_team, phase, run_team

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


@entry(types.int64, types.int64, *MEMBER)
def run(n_threads, member, task, team, sizes, done, seen):  # type: ignore[no-untyped-def]
    arguments = point_at((task, team, sizes, done, seen))
    run_team(team, n_threads, member, number_of(arguments))


# More members than cores: some begin when others have done everything, and must not be waited for.
@pytest.mark.parametrize("n_threads", [1, 2, 8])
def test_every_task_is_done_once_and_after_the_phase_before(n_threads: int) -> None:
    team = make_team()
    for _ in range(50):
        done, seen = np.zeros((2, len(SIZES), SIZES.max()), np.int64)
        run(n_threads, go_through.address, count_task.address, team, SIZES, done, seen)
        expected = np.arange(SIZES.max()) < SIZES[:, None]
        np.testing.assert_array_equal(done, expected)
        np.testing.assert_array_equal(seen[1:], expected[1:] * SIZES[:-1, None])
