"""A core: a worker on a thread of its own, which runs only when it has the turn.

`wait_until` is the only place where a turn ends, so what happens does not depend on the system.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from mlir.simulate.iron import DesignError, Worker
from mlir.simulate.pools import Pool


class _Stop(BaseException):
    """Ends the thread of a core."""


class CorePort:
    """A core's end of a fifo."""

    def __init__(self, core: Core, pool: Pool, *, is_prod: bool) -> None:
        self._core = core
        self.pool = pool
        self._is_prod = is_prod
        self._number = pool.add_writer() if is_prod else pool.add_reader()
        self._held = 0

    def acquire(self, n: int) -> list[Any]:
        """Wait until `n` elements are held, and return them, the oldest first."""
        look = self.pool.find_room if self._is_prod else self.pool.find_element
        take = self.pool.get_room if self._is_prod else self.pool.get_element
        while self._held < n:
            ready = self._core.wait_until(lambda: look(self._number, self._held), self.describe)
            self._core.time = max(self._core.time, ready)
            self._held += 1
        return [take(self._number, index) for index in range(n)]

    def release(self, n: int) -> None:
        """Give back the `n` oldest elements."""
        if n > self._held:
            raise DesignError(
                f"{self._core.name}: release({n}) of {self.pool.name}, {self._held} held"
            )
        for _ in range(n):
            self._held -= 1
            finish = self.pool.finish_write if self._is_prod else self.pool.finish_read
            finish(self._number, self._core.time)

    def check_released(self) -> None:
        """Refuse an element that is still held."""
        if self._held:
            raise DesignError(
                f"{self._core.name}: {self._held} of {self.pool.name} acquired and never released"
            )

    def describe(self) -> str:
        """Say what the core waits for."""
        what = "room in" if self._is_prod else "an element of"
        return f"{self._core.name} waits for {what} {self.pool.name}"


class BarrierPort:
    """The lock that a core shares with the sequence, under both readings of a wait at once.

    mlir-aie's own designs take it that a wait leaves the value, xdna-emu takes it away. Where both
    find the same at every wait, one run stands for two; a wait that only one passes is refused.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._left = 0  # the value where waits leave it
        self._taken = 0  # the value where waits take it away
        self._set_at = 0.0

    def wait(self, value: int) -> None:
        """Wait for `value`."""
        for port in self._core.ports:
            port.check_released()
        self._core.at_barrier = True
        time = self._core.wait_until(
            lambda: self._find(value), lambda: f"{self._core.name} waits for its barrier"
        )
        self._core.at_barrier = False
        self._taken -= value
        self._core.time = max(self._core.time, time)

    def _find(self, value: int) -> float | None:
        if (self._left == value) != (self._taken == value):
            how = "leaves" if self._left == value else "takes"
            raise DesignError(
                f"{self._core.name}: its barrier opens only if a wait {how} the value "
                f"({self._left} or {self._taken}, waiting for {value})"
            )
        return self._set_at if self._left == value else None

    def release(self, value: int) -> None:
        """Add `value` in the core."""
        self._left += value
        self._taken += value

    def set(self, value: int, time: float) -> None:
        """Set the lock in the sequence."""
        if not self._core.at_barrier:
            raise DesignError(f"{self._core.name}: its barrier is set while it still runs")
        self._left = self._taken = value
        self._set_at = time
        self._core.wake()


class Core:
    """A worker with its thread, its time, and what it waits for."""

    def __init__(
        self, worker: Worker, pump: Callable[[], None], enqueue: Callable[[Core], None]
    ) -> None:
        self._pump = pump  # moves data, without a change of turns
        self._enqueue = enqueue
        self._worker = worker
        self.name = f"core {worker.tile}"
        self.time = 0.0
        self.busy = 0.0  # cycles in kernels
        self.ports: list[CorePort] = []
        self.at_barrier = False
        self.waiting: Callable[[], str] | None = None
        self._look: Callable[[], float | None] = lambda: 0.0
        self.error: BaseException | None = None
        self._turn = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def run(self) -> None:
        """Let the core run until it waits, unless it would wait at once."""
        if self._look() is None:
            return
        self._turn.release()
        self._back.acquire()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._turn.release()
        self._thread.join()

    def wake(self) -> None:
        """Put the core in line if it waits."""
        if self.waiting is not None:
            self._enqueue(self)

    def wait_until(self, look: Callable[[], float | None], describe: Callable[[], str]) -> float:
        """Return what `look` returns as soon as it is not None."""
        found = look()
        if found is None:
            self._pump()  # on this thread: most waits end here, without a change of turns
            found = look()
        while found is None:
            self.waiting, self._look = describe, look
            self._yield()
            self.waiting, self._look = None, lambda: 0.0
            found = look()
        return found

    def _yield(self) -> None:
        self._back.release()
        self._turn.acquire()
        if self._stopped:
            raise _Stop

    def _run(self) -> None:
        self._turn.acquire()
        try:
            while not self._stopped:
                self._worker.core_fn(*self._worker.fn_args)
        except _Stop:
            return
        except BaseException as error:  # handed over to the thread that runs the simulation
            self.error = error
            self._back.release()
