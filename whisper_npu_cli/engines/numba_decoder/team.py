"""Threads that do the tasks of a step together, called once for all tasks.

A step of whisper-base is 75 products, attentions and normalisations, each of which needs the one
before. With an OpenMP region for each, a product of 512 x 512 took 32 us, of which 16 went by
before its threads had begun: nearly all the code and data that start a region have left the
caches since the last one. Here a product takes 12 us.

Between steps the threads wait at a semaphore, in `serve`. They are no OpenMP threads, nor numba's:
those can be had with numba alone, and a region waits until each of its threads has had a core.

Knows nothing of what the tasks compute.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from whisper_npu_cli.engines.numba_decoder.calls import call, load
from whisper_npu_cli.engines.numba_decoder.compiling import kernel, serial
from whisper_npu_cli.engines.numba_decoder.kinds import I64
from whisper_npu_cli.engines.numba_decoder.threads import (
    ARGUMENTS,
    BEGAN,
    DONE,
    LEFT,
    MEMBER,
    N_THREADS,
    N_TIMES,
    SEMAPHORE,
    TAKEN,
)

_MANY = 2**62  # threads
SPINS = 1000  # looks at a counter, some 5 us, before the core is offered to other threads


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
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), build


def _make_semaphore_call(name: str) -> Any:
    """Return a compiled call of POSIX's function `name` with the semaphore of a crew."""

    @intrinsic  # type: ignore[untyped-decorator]
    def call_it(typing: Any, crew: Any, i: Any) -> Any:
        del typing

        def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            pointer = ir.IntType(8).as_pointer()
            kind = ir.FunctionType(ir.IntType(32), [pointer])
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            place = _point_at(context, builder, signature, args)
            return builder.call(function, [builder.bitcast(place, pointer)])

        return types.int32(crew, i), build

    return call_it


_post, _wait, _try = (_make_semaphore_call(f"sem_{name}") for name in ("post", "wait", "trywait"))


@intrinsic  # type: ignore[untyped-decorator]
def _read_clock(typing: Any) -> Any:
    """Return the time of a monotonic clock in ns."""
    del typing

    def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        del context, signature, args
        int32, int64 = ir.IntType(32), ir.IntType(64)
        kind = ir.ArrayType(int64, 2)  # seconds and nanoseconds
        place = cgutils.alloca_once_value(builder, kind(None))
        function = ir.FunctionType(int32, [int32, kind.as_pointer()])
        callee = cgutils.get_or_insert_function(builder.module, function, "clock_gettime")
        builder.call(callee, [int32(time.CLOCK_MONOTONIC), place])
        seconds, ns = (builder.extract_value(builder.load(place), i) for i in (0, 1))
        return builder.add(builder.mul(seconds, int64(10**9)), ns)

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
def _wait_until(counters, i, end):  # type: ignore[no-untyped-def]
    """Return once counters[i] has reached `end`."""
    n_looks = 0
    while _load(counters, i) < end:
        n_looks += 1
        if n_looks > SPINS:
            _offer_core()


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
    _wait_until(team, DONE, end)
    return end


@kernel(I64[1], types.int64, I64[1], types.int64, types.int64)
def run_team(_, packed):  # type: ignore[no-untyped-def]
    """Run the kernel at the address `member`, which goes through phases, on `n_threads` threads.

    One is the thread that calls; the others are of `crew`. Of those that have not begun when it
    ends, the calls are taken back.
    """
    crew, n_threads, team, member, arguments = load(packed)
    team[TAKEN] = team[DONE] = 0  # the tasks of the step before
    team[N_THREADS] = n_threads
    team[N_TIMES] = 0
    crew[MEMBER], crew[ARGUMENTS], crew[LEFT] = member, arguments, 0
    n_called = n_threads - 1
    for _ in range(n_called):
        _post(crew, SEMAPHORE)
    call(member, 0, arguments)
    while n_called > 0 and _try(crew, SEMAPHORE) == 0:
        n_called -= 1
    _wait_until(crew, LEFT, n_called)
    _clock_phase(team)


@kernel(I64[1])
def serve(_, packed):  # type: ignore[no-untyped-def]
    """Run what `run_team` calls the threads of a crew for, and never return."""
    (crew,) = load(packed)
    while True:
        if _wait(crew, SEMAPHORE) == 0:  # else it was a signal
            call(crew[MEMBER], 1, crew[ARGUMENTS])
            _count(crew, LEFT, _MANY)


@kernel(I64[1], types.int64, types.int64, types.int64)
def run_tasks(_, packed):  # type: ignore[no-untyped-def]
    """Run one thread of a team that has one phase."""
    team, n_tasks, task, arguments = load(packed)
    phase(team, np.int64(0), n_tasks, task, arguments)
