"""The threads on which kernels run: how many the caller has allowed, and the crew that waits.

The threads are started once in a process and wait in compiled code (`team.py`), so a call of all of
them takes no lock of Python's. Any number of callers take turns.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.engines.numba_decoder.code import PACKAGE, Kernel, Packed

# Indices of a team's array, a cache line apart: tasks taken, tasks done, number of threads; then
# the number of times noted, and the times: when each phase began, and when the last one ended
TAKEN, DONE, N_THREADS, N_TIMES, BEGAN = 0, 8, 16, 17, 24
# Indices of a crew's array: POSIX's semaphore, 32 bytes of Linux; what it runs; how many have left
SEMAPHORE, MEMBER, ARGUMENTS, LEFT, _CREW_SIZE = 0, 8, 9, 16, 24

CREW = "whisper-npu crew"  # the name of its threads

_RUN_TEAM, _RUN_TASKS, _SERVE = (
    Kernel(f"{PACKAGE}.team:{name}") for name in ("run_team", "run_tasks", "serve")
)


class _Allowed(threading.local):
    n = len(os.sched_getaffinity(0))


_allowed = _Allowed()


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let kernels that this thread calls run on `n` threads, and afterwards on as many as before.

    The environment variable NUMBA_NUM_THREADS may allow fewer.
    """
    before = _allowed.n
    _allowed.n = min(n, int(os.environ.get("NUMBA_NUM_THREADS", n)))
    try:
        yield
    finally:
        _allowed.n = before


def count_threads() -> int:
    """Return on how many threads kernels run that this thread calls."""
    return _allowed.n


class _Crew:
    """Threads that wait for calls, and what they share with who calls them."""

    def __init__(self) -> None:
        self.shared = np.zeros(_CREW_SIZE, np.int64)
        self.turn = threading.Lock()
        self._n = 0
        ctypes.CDLL(None).sem_init(ctypes.c_void_p(self.shared.ctypes.data), 0, 0)

    def grow(self, n: int) -> None:
        """Have at least `n` threads."""
        for _ in range(self._n, n):
            arguments = 0, self.shared
            threading.Thread(target=_SERVE, args=arguments, name=CREW, daemon=True).start()
        self._n = max(self._n, n)


@lru_cache
def _start_crew() -> _Crew:
    return _Crew()


os.register_at_fork(after_in_child=_start_crew.cache_clear)  # which has no threads


def list_kernels() -> list[Kernel]:
    """Return the kernels that any run on several threads needs."""
    return [_RUN_TEAM, _RUN_TASKS, _SERVE]


def make_team(n_times: int = 0) -> NDArray[np.int64]:
    """Return what the threads of a team share, with room for `n_times` times."""
    return np.zeros(BEGAN + n_times, np.int64)


def run_team(team: NDArray[np.int64], member: Kernel, arguments: Packed) -> None:
    """Run the kernel `member`, which goes through phases, on as many threads as are allowed."""
    crew, n = _start_crew(), count_threads()
    with crew.turn:
        crew.grow(n - 1)
        _RUN_TEAM(0, crew.shared, n, team, member.address, arguments.address)


def run_tasks(task: Kernel, n_tasks: int, *arguments: object) -> None:
    """Call the kernel `task` for each number below `n_tasks`, spread over threads."""
    packed = Packed(*arguments)
    if n_tasks == 1:
        task.call(0, packed)
        return
    team = make_team()
    run_team(team, _RUN_TASKS, Packed(team, n_tasks, task.address, packed.address))
