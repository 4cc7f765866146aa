"""Threads that do the tasks of a step together, started once for all tasks.

A step of whisper-base is 75 products, attentions and normalisations, each of which needs the one
before. With an OpenMP region for each, a product of 512 x 512 took 32 us, of which 16 went by
before its threads had begun: nearly all the code and data that start a region have left the
caches since the last one. Here a product takes 12 us.

Knows nothing of what the tasks compute.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from whisper_npu_cli.engines.numba_decoder.calls import call
from whisper_npu_cli.engines.numba_decoder.compiling import serial

# Indices of a team's array, a cache line apart: tasks taken, tasks done, number of threads; then
# the number of times noted, and the times: when each phase began, and when the last one ended
TAKEN, DONE, N_THREADS, N_TIMES, BEGAN = 0, 8, 16, 17, 24
SPINS = 1000  # looks at a counter, some 5 us, before the core is offered to other threads


def make_team(n_times: int = 0) -> NDArray[np.int64]:
    """Return what the threads of a team share, with room for `n_times` times."""
    return np.zeros(BEGAN + n_times, np.int64)


def _point_at(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    """Return a pointer to args[0][args[1]]."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return cgutils.get_item_pointer(context, builder, signature.args[0], array, args[1:2])


@intrinsic  # type: ignore[untyped-decorator]
def _load(typing: Any, counters: Any, i: Any) -> Any:
    """Return counters[i]; all that was written before it got this value can be read after it."""
    del typing

    def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_point_at(context, builder, signature, args), "acquire", 8)

    return types.int64(counters, i), build


@intrinsic  # type: ignore[untyped-decorator]
def _exchange(typing: Any, counters: Any, i: Any, old: Any, new: Any) -> Any:
    """Set counters[i] to `new` if it is `old`; return what it was."""
    del typing, old, new

    def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        place = _point_at(context, builder, signature, args)
        pair = builder.cmpxchg(place, args[2], args[3], "acq_rel", "acquire")
        return builder.extract_value(pair, 0)

    return types.int64(counters, i, types.int64, types.int64), build


@intrinsic  # type: ignore[untyped-decorator]
def _offer_core(typing: Any) -> Any:
    """Let another thread have this core, if one wants it."""
    del typing

    def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        del signature, args
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), build


@intrinsic  # type: ignore[untyped-decorator]
def _read_clock(typing: Any) -> Any:
    """Return the time of a monotonic clock, in ns or in the ticks of Windows."""
    del typing

    def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        del context, signature, args
        int32, int64 = ir.IntType(32), ir.IntType(64)
        kind = ir.ArrayType(int64, 2)  # seconds and nanoseconds
        place = cgutils.alloca_once_value(builder, kind(None))
        if sys.platform == "win32":
            function = ir.FunctionType(int32, [kind.as_pointer()])
            name, arguments = "QueryPerformanceCounter", [place]
        else:
            function = ir.FunctionType(int32, [int32, kind.as_pointer()])
            name, arguments = "clock_gettime", [int32(time.CLOCK_MONOTONIC), place]
        builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)
        first, second = (builder.extract_value(builder.load(place), i) for i in (0, 1))
        if sys.platform == "win32":
            return first
        return builder.add(builder.mul(first, int64(10**9)), second)

    return types.int64(), build


@serial
def _clock_phase(team):  # type: ignore[no-untyped-def]
    """Note when a phase begins or the last one ends; one thread at a time calls this."""
    place = BEGAN + team[N_TIMES]
    if place < team.size:
        team[place] = _read_clock()
        team[N_TIMES] += 1


@serial
def _count(team, counter, end):  # type: ignore[no-untyped-def]
    """Increment a counter and return its value before, or -1 where it has reached `end`."""
    number = _load(team, counter)
    while number < end:
        was = _exchange(team, counter, number, number + 1)
        if was == number:
            return number
        number = was
    return np.int64(-1)


@serial
def phase(team, first, n_tasks, task, arguments):  # type: ignore[no-untyped-def]
    """Do `n_tasks` calls of the kernel at the address `task`, wait for all, and return their end.

    Tasks are numbered through a step: `first` is the number of this phase's first one, which the
    phase before returned. All threads of a team call the same phases in the same order; each takes
    the next task that nobody has taken, and leaves when all are done. So a team waits for no thread
    that has not begun a task, be it late, asleep, or without a core: the others do its share.
    """
    end = first + n_tasks
    number = _count(team, TAKEN, end)
    while number >= 0:
        if number == first:
            _clock_phase(team)
        call(task, number - first, arguments)
        _count(team, DONE, end)
        number = _count(team, TAKEN, end)
    n_looks = 0
    while _load(team, DONE) < end:
        n_looks += 1
        if n_looks > SPINS:
            _offer_core()
    return end


# Numba's dead-code pass drops what a parallel loop does unless a called function does it (0.68).


@njit(parallel=True)
def run_parallel(n, task, arguments):  # type: ignore[no-untyped-def]
    """Call the kernel at the address `task` for 0 <= i < n, spread over numba's threads."""
    for i in prange(n):
        call(task, i, arguments)


@serial
def run_team(team, n_threads, member, arguments):  # type: ignore[no-untyped-def]
    """Run the kernel `member`, which goes through phases, on `n_threads` threads at a time."""
    team[TAKEN] = team[DONE] = 0  # the tasks of the step before
    team[N_THREADS] = n_threads
    team[N_TIMES] = 0
    run_parallel(n_threads, member, arguments)
    _clock_phase(team)
