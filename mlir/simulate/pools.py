"""Buffers of tiles and the DMA channels between them, with the cycle at which each step ends.

A pool is the ring of buffers at one end of a fifo. Time is carried by the elements: a transfer
starts when its source is full, all its destinations are free and its channel is idle, and takes
4 bytes a cycle. Nothing depends on the order in which the simulator handles them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.engines.npu.timing_model import STREAM_BYTES

Words = NDArray[np.int32]


def allocate(size_bytes: int) -> NDArray[np.uint8]:
    """Return zeroed memory that begins at a multiple of 64 bytes, as the linker places buffers."""
    raw = np.zeros(size_bytes + 64, np.uint8)
    skip = -raw.ctypes.data % 64
    return raw[skip : skip + size_bytes]


class Pool:
    """A ring of `depth` buffers; an element is full once every writer wrote its part of it.

    `memory` gives it buffers of its own, which kernels touch; elsewhere elements are passed on
    as they are.
    """

    def __init__(self, name: str, depth: int, size_bytes: int, *, memory: bool) -> None:
        self.name = name
        self.depth = depth
        self.size_bytes = size_bytes
        self.memory = memory
        self.slots: list[Any] = [
            allocate(size_bytes).view(np.int32) if memory else None for _ in range(depth)
        ]
        self.written: list[int] = []  # elements by writer
        self.read: list[int] = []
        self._write_times: list[list[float]] = []
        self._read_times: list[list[float]] = []
        self.watchers: list[Callable[[], None]] = []

    def add_writer(self) -> int:
        """Return the number of a new writer."""
        self.written.append(0)
        self._write_times.append([0.0] * self.depth)
        return len(self.written) - 1

    def add_reader(self) -> int:
        """Return the number of a new reader."""
        self.read.append(0)
        self._read_times.append([0.0] * self.depth)
        return len(self.read) - 1

    def find_room(self, writer: int, ahead: int = 0) -> float | None:
        """Return when the writer's next buffer (or one `ahead`) is free; None if it is not yet."""
        element = self.written[writer] + ahead
        if element >= min(self.read) + self.depth:
            return None
        return max(times[element % self.depth] for times in self._read_times)

    def find_element(self, reader: int, ahead: int = 0) -> float | None:
        """Return when the reader's next element (or one `ahead`) is full; None if not yet."""
        element = self.read[reader] + ahead
        if element >= min(self.written):
            return None
        return max(times[element % self.depth] for times in self._write_times)

    def get_element(self, reader: int, ahead: int = 0) -> Any:
        """Return the reader's next element."""
        return self.slots[(self.read[reader] + ahead) % self.depth]

    def get_room(self, writer: int, ahead: int = 0) -> Any:
        """Return the writer's next buffer."""
        return self.slots[(self.written[writer] + ahead) % self.depth]

    def put(self, writer: int, words: Words, offset: int) -> None:
        """Store a part of the writer's next element, `offset` bytes into it."""
        at = self.written[writer] % self.depth
        if not self.memory and len(self.written) == 1:
            self.slots[at] = words
            return
        if self.slots[at] is None:
            self.slots[at] = np.empty(self.size_bytes // 4, np.int32)
        self.slots[at][offset // 4 : offset // 4 + words.size] = words

    def finish_write(self, writer: int, time: float) -> None:
        """Count the writer's part as written at `time`."""
        self._write_times[writer][self.written[writer] % self.depth] = time
        self.written[writer] += 1
        for watcher in self.watchers:
            watcher()

    def finish_read(self, reader: int, time: float) -> None:
        """Count the reader's next element as no longer needed at `time`."""
        self._read_times[reader][self.read[reader] % self.depth] = time
        self.read[reader] += 1
        for watcher in self.watchers:
            watcher()

    @property
    def waiting(self) -> int:
        """Elements written, at least in part, and not yet read by all."""
        return max(self.written) - min(self.read)


@dataclass(eq=False)
class Task:
    """A transfer of the sequence on a shim channel."""

    name: str
    words: Words  # (n,) to send, or to be filled
    pushed_at: float
    finish: Callable[[Words], None] | None = None  # a drain's: store the words
    moved: int = 0  # words
    done_at: float | None = None


@dataclass(frozen=True)
class Source:
    """Where a channel reads: a part of the elements of a pool."""

    pool: Pool
    reader: int
    offset: int


@dataclass(frozen=True)
class Target:
    """Where a channel writes: a part of the elements of a pool."""

    pool: Pool
    writer: int
    offset: int


@dataclass(eq=False)
class Channel:
    """A DMA channel with its stream: from a pool or the host, to pools or the host."""

    name: str
    size_bytes: int  # bytes of an element
    source: Source | None  # None: the host
    targets: list[Target]  # none: the host
    tasks: deque[Task] = field(default_factory=deque)  # transfers of the host, where it is an end
    history: list[Task] = field(default_factory=list)
    time: float = 0.0
    moved_bytes: int = 0

    def move(self) -> bool:
        """Move one element if it is there and has room; say whether it was."""
        starts = [self.time]
        task = None
        if self.source is None or not self.targets:
            if not self.tasks:
                return False
            task = self.tasks[0]
            starts.append(task.pushed_at)
        if self.source is not None:
            full = self.source.pool.find_element(self.source.reader)
            if full is None:
                return False
            starts.append(full)
        for target in self.targets:
            room = target.pool.find_room(target.writer)
            if room is None:
                return False
            starts.append(room)
        self.time = max(starts) + self.size_bytes / STREAM_BYTES
        self.moved_bytes += self.size_bytes
        self._copy(task)
        return True

    def _copy(self, task: Task | None) -> None:
        n = self.size_bytes // 4
        if self.source is None:
            assert task is not None
            words = task.words[task.moved : task.moved + n]
        else:
            first = self.source.offset // 4
            words = self.source.pool.get_element(self.source.reader)[first : first + n]
            if self.source.pool.memory:
                words = words.copy()  # the core will write its buffer again
        for target in self.targets:
            target.pool.put(target.writer, words, target.offset)
        if not self.targets:
            assert task is not None
            task.words[task.moved : task.moved + n] = words
        if task is not None:
            self._advance(task, n)
        if self.source is not None:
            self.source.pool.finish_read(self.source.reader, self.time)
        for target in self.targets:
            target.pool.finish_write(target.writer, self.time)

    def _advance(self, task: Task, n: int) -> None:
        task.moved += n
        if task.moved == task.words.size:
            task.done_at = self.time
            self.tasks.popleft()
            if task.finish is not None:
                task.finish(task.words)

    def describe_wait(self) -> str:
        """Say what the channel lacks."""
        if self.source is not None and self.source.pool.find_element(self.source.reader) is None:
            return f"{self.name} waits for an element of {self.source.pool.name}"
        for target in self.targets:
            if target.pool.find_room(target.writer) is None:
                return f"{self.name} waits for room in {target.pool.name}"
        return f"{self.name} waits for a transfer of the sequence"
