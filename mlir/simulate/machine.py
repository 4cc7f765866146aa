"""The array of a program: cores that take turns, pools of buffers, DMA channels between them.

What would hang the array ends with the tiles and fifos that wait; what would leave data behind
ends with their names.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlir.host.library import KernelLibrary
from mlir.simulate import limits
from mlir.simulate.core import BarrierPort, Core, CorePort
from mlir.simulate.iron import (
    Buffer,
    DesignError,
    Handle,
    Kernel,
    Worker,
    WorkerRuntimeBarrier,
    size_bytes,
)
from mlir.simulate.pools import Channel, Pool, Source, Target, allocate
from mlir.simulate.runtime import Program


class Machine:
    """The array of one program: `settle` runs it as far as it goes without the sequence."""

    def __init__(
        self, program: Program, library: KernelLibrary, kernel_cycles: dict[str, float]
    ) -> None:
        limits.check(program)
        self._library = library
        self._kernel_cycles = kernel_cycles
        self._channels_to_try: deque[Channel] = deque()
        self._in_line: deque[Core] = deque()
        self.channels: list[Channel] = []
        self.pools: list[Pool] = []
        self.host_channels: dict[Handle, Channel] = {}
        self.cores = [self._make_core(worker) for worker in program.runtime.workers]
        self._connect(program)
        self._current = self.cores[0]
        for core in self.cores:
            self.enqueue(core)

    def enqueue(self, core: Core) -> None:
        """Put a core in line."""
        if core not in self._in_line:
            self._in_line.append(core)

    def try_channel(self, channel: Channel) -> None:
        """Put a channel in line."""
        self._channels_to_try.append(channel)

    def pump(self) -> None:
        """Move elements until no channel in line can."""
        while self._channels_to_try:
            channel = self._channels_to_try.popleft()
            while channel.move():
                pass

    def settle(self) -> None:
        """Run everything until all wait."""
        self.pump()
        while self._in_line:
            self._current = self._in_line.popleft()
            self._current.run()
            self.pump()

    def check_idle(self) -> None:
        """Refuse cores that did not return to their barrier, and data that nobody took."""
        running = [core for core in self.cores if not core.at_barrier]
        if running:
            raise DesignError(f"the sequence ended, but {self.describe_waits()}")
        for pool in self.pools:
            if pool.waiting:
                raise DesignError(f"the sequence ended with {pool.waiting} elements in {pool.name}")

    def describe_waits(self) -> str:
        """Say who waits for what: cores first, then channels that have something to do."""
        rows = [core.waiting() for core in self.cores if core.waiting and not core.at_barrier]
        rows += [channel.describe_wait() for channel in self.channels if channel.tasks]
        return "; ".join(rows) or "nothing waits"

    def close(self) -> None:
        """End all threads."""
        for core in self.cores:
            core.stop()

    def _make_core(self, worker: Worker) -> Core:
        core = Core(worker, self.pump, self.enqueue)
        for handle in worker.of(Handle):
            name = f"{handle.fifo.name} at {worker.tile}"
            pool = self._add_pool(name, handle.depth, handle.fifo.size_bytes, memory=True)
            handle.port = CorePort(core, pool, is_prod=handle.is_prod)
            pool.watchers.append(core.wake)
            core.ports.append(handle.port)
        for barrier in worker.of(WorkerRuntimeBarrier):
            barrier.port = BarrierPort(core)
        for buffer in worker.of(Buffer):
            buffer.array = allocate(buffer.size_bytes).view(np.int32)
        for kernel in worker.of(Kernel):
            kernel.on_call = self._call
        return core

    def _call(self, kernel: Kernel, *arguments: Any) -> None:
        values: list[NDArray[Any] | int] = []
        for argument, declared in zip(arguments, kernel.arg_types, strict=True):
            value = argument.array if isinstance(argument, Buffer) else argument
            if isinstance(value, np.ndarray) != hasattr(declared, "__args__") or (
                isinstance(value, np.ndarray) and value.nbytes != size_bytes(declared)
            ):
                raise DesignError(f"kernel {kernel.name}: an argument is not as declared")
            values.append(value)
        self._library.call(kernel.name, *values)
        cycles = self._kernel_cycles[kernel.name]
        self._current.time += cycles
        self._current.busy += cycles

    def _add_pool(self, name: str, depth: int, size: int, *, memory: bool) -> Pool:
        self.pools.append(Pool(name, depth, size, memory=memory))
        return self.pools[-1]

    def _connect(self, program: Program) -> None:
        whole_pools: dict[int, Pool] = {}
        for fifo in program.find_fifos():
            assert fifo.producer is not None
            source = self._find_source(fifo.producer, whole_pools)
            targets = [self._find_target(end, whole_pools) for end in fifo.consumers]
            channel = Channel(fifo.name, fifo.size_bytes, source, [t for t in targets if t])
            self.channels.append(channel)
            for end in (fifo.producer, *fifo.consumers):
                if end.link is None and end.port is None:
                    self.host_channels[end] = channel
            for pool in [*([source.pool] if source else []), *(t.pool for t in channel.targets)]:
                pool.watchers.append(partial(self.try_channel, channel))

    def _find_source(self, end: Handle, whole_pools: dict[int, Pool]) -> Source | None:
        if end.port is not None:
            return Source(end.port.pool, end.port.pool.add_reader(), 0)
        if end.link is None:
            return None
        pool, offset = self._find_pool(end, whole_pools)
        return Source(pool, pool.add_reader(), offset)

    def _find_target(self, end: Handle, whole_pools: dict[int, Pool]) -> Target | None:
        if end.port is not None:
            return Target(end.port.pool, end.port.pool.add_writer(), 0)
        if end.link is None:
            return None
        pool, offset = self._find_pool(end, whole_pools)
        return Target(pool, pool.add_writer(), offset)

    def _find_pool(self, end: Handle, pools: dict[int, Pool]) -> tuple[Pool, int]:
        """Return the pool of the link's whole elements, and where this end's part begins."""
        link = end.link
        assert link is not None
        whole = link.whole
        if id(link) not in pools:
            name = f"{whole.fifo.name} at {whole.tile}"
            pools[id(link)] = self._add_pool(name, whole.depth, whole.fifo.size_bytes, memory=False)
        part = next((i for i, handle in enumerate(link.parts) if handle is end), None)
        return pools[id(link)], 0 if part is None else link.offsets[part]
