"""Phases of a team: each task once, each phase after the one before, with any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit, prange

from whisper_npu_cli.engines.numba_decoder.compiling import serial
from whisper_npu_cli.engines.numba_decoder.team import begin, make_phase, make_team

SIZES = np.array([5, 1, 40, 7, 300])  # tasks of the phases


@serial
def _task(i, phase, done, seen):  # type: ignore[no-untyped-def]
    """Count the task, and note how many of the phase before are done."""
    seen[phase, i] = done[phase - 1].sum() if phase > 0 else 0
    done[phase, i] += 1


_phase = make_phase(_task)


@serial
def _member(team, sizes, done, seen):  # type: ignore[no-untyped-def]
    at = np.int64(0)
    for phase in range(sizes.size):
        at = _phase(team, at, sizes[phase], phase, done, seen)


@njit(parallel=True)
def _run(n_threads, team, sizes, done, seen):  # type: ignore[no-untyped-def]
    begin(team, n_threads)
    for _ in prange(n_threads):
        _member(team, sizes, done, seen)


# More members than cores: some begin when others have done everything, and must not be waited for.
@pytest.mark.parametrize("n_threads", [1, 2, 8])
def test_every_task_is_done_once_and_after_the_phase_before(n_threads: int) -> None:
    team = make_team()
    for _ in range(50):
        done, seen = np.zeros((2, len(SIZES), SIZES.max()), np.int64)
        _run(n_threads, team, SIZES, done, seen)
        expected = np.arange(SIZES.max()) < SIZES[:, None]
        np.testing.assert_array_equal(done, expected)
        np.testing.assert_array_equal(seen[1:], expected[1:] * SIZES[:-1, None])
