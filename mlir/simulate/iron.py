"""The array's side of `aie.iron`: fifos, kernels, workers, as plain descriptions.

Same names and rules as mlir-aie at commit 979629649 (23 April 2026), from reading it, and beside
them what 1.4 has in the place of some; what the real one refuses is refused here too. A description
is checked by `limits.py` and run by `machine.py`, which binds the ends of fifos, buffers and
kernels to a core; nothing runs here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

Ints = list[int]  # one number for each part of an element


class DesignError(Exception):
    """A design that the real tools or the array would refuse, or that would fail on it."""


@dataclass(frozen=True)
class Tile:
    """A place in the array: row 0 shim, 1 memory, 2 to 5 cores."""

    col: int
    row: int

    def __str__(self) -> str:
        return f"tile ({self.col}, {self.row})"


class NPU1:
    """Phoenix and Hawk Point."""

    cols = 4
    rows = 6


def size_bytes(array_type: Any) -> int:
    """Return the bytes of `np.ndarray[shape, np.dtype[type]]`."""
    return int(prod(array_type.__args__[0])) * itemsize(array_type)


def itemsize(array_type: Any) -> int:
    """Return the bytes of an element of `np.ndarray[shape, np.dtype[type]]`."""
    return int(np.dtype(array_type.__args__[1].__args__[0]).itemsize)


_sequences: list[Any] = []  # the runtime whose callback runs, if one does


@contextmanager
def run_callback(runtime: Any) -> Iterator[None]:
    """Let what is called meanwhile be the steps of `runtime`."""
    _sequences.append(runtime)
    try:
        yield
    finally:
        _sequences.pop()


def find_sequence() -> Any:
    """Return the runtime whose callback runs."""
    if not _sequences:
        raise DesignError("only the function that Runtime was given moves data")
    return _sequences[-1]


class Handle:
    """One end of a fifo; `machine.py` binds it to the port of a core."""

    def __init__(self, fifo: ObjectFifo, is_prod: bool, depth: int) -> None:
        self.fifo = fifo
        self.is_prod = is_prod
        self.depth = depth
        self.tile: Tile | None = None
        self.link: Link | None = None
        self.port: Any = None

    def acquire(self, num_elem: int) -> Any:
        """Wait until so many elements are held; return the element, or a list of several."""
        if num_elem > self.depth:
            raise DesignError(f"{self.fifo.name}: acquire({num_elem}) exceeds depth {self.depth}")
        held = self.port.acquire(num_elem)
        return held[0] if num_elem == 1 else held

    def release(self, num_elem: int) -> None:
        """Give back the oldest elements held."""
        self.port.release(num_elem)

    def fill(self, source: Any, *, tap: Any, group: Any, wait: bool = False) -> None:
        """Send words of a host buffer; since 1.4."""
        find_sequence().fill(self, source, tap, group, wait=wait, tile=self.tile)

    def drain(self, dest: Any, *, tap: Any, group: Any, wait: bool = False) -> None:
        """Take words out into a host buffer; since 1.4."""
        find_sequence().drain(self, dest, tap, group, wait=wait, tile=self.tile)

    def forward(self, tile: Tile, *, depth: int, name: str) -> ObjectFifo:
        """Send every element on from a memory tile."""
        return self.split([0], tile, [depth], [self.fifo.obj_type], [name])[0]

    def split(
        self, offsets: Ints, tile: Tile, depths: Ints, obj_types: list[Any], names: list[str]
    ) -> list[ObjectFifo]:
        """Send parts of every element on, each by a fifo of its own."""
        if self.is_prod:
            raise DesignError(f"{self.fifo.name}: only a consumer is split")
        fifos = [ObjectFifo(*part) for part in zip(obj_types, depths, names, strict=True)]
        return self._connect(tile, offsets, fifos)

    def join(
        self, offsets: Ints, tile: Tile, depths: Ints, obj_types: list[Any], names: list[str]
    ) -> list[ObjectFifo]:
        """Make every element of parts, each of which comes by a fifo of its own."""
        if not self.is_prod:
            raise DesignError(f"{self.fifo.name}: only a producer is joined")
        fifos = [ObjectFifo(*part) for part in zip(obj_types, depths, names, strict=True)]
        return self._connect(tile, offsets, fifos)

    def _connect(self, tile: Tile, offsets: Ints, fifos: list[ObjectFifo]) -> list[ObjectFifo]:
        ends = [fifo.cons() if self.is_prod else fifo.prod() for fifo in fifos]
        width = itemsize(self.fifo.obj_type)
        link = Link(self, ends, [offset * width for offset in offsets])
        for end in (self, *ends):
            end.tile, end.link = tile, link
        return fifos


@dataclass
class Link:
    """A memory tile between one whole fifo and one or several parts of its elements."""

    whole: Handle
    parts: list[Handle]
    offsets: list[int]  # bytes


class ObjectFifo:
    """A queue of equal elements from one producer to one or more consumers."""

    def __init__(self, obj_type: Any, depth: int, name: str) -> None:
        if depth < 1:
            raise DesignError(f"fifo {name}: depth {depth} is below 1")
        self.obj_type = obj_type
        self.depth = depth
        self.name = name
        self.size_bytes = size_bytes(obj_type)
        self.producer: Handle | None = None
        self.consumers: list[Handle] = []

    def prod(self, *, tile: Tile | None = None) -> Handle:
        """Return the one producer; `tile`, since 1.4, is that of the sequence's transfers."""
        self.producer = self.producer or Handle(self, True, self.depth)
        self.producer.tile = tile or self.producer.tile
        return self.producer

    def cons(self, *, tile: Tile | None = None) -> Handle:
        """Return a new consumer; `tile` as for `prod`."""
        self.consumers.append(Handle(self, False, self.depth))
        self.consumers[-1].tile = tile
        return self.consumers[-1]


class Buffer:
    """Memory of a core; with `use_write_rtp` the sequence may write it."""

    def __init__(self, type: Any, *, name: str, use_write_rtp: bool = False) -> None:
        self.name = name
        self.size_bytes = size_bytes(type)
        self.writable = use_write_rtp
        self.array: Any = None  # bound by machine.py
        self.on_write: Callable[[], None] | None = None  # set while the sequence runs

    def __getitem__(self, index: int) -> int:
        return int(self.array[index])

    def __setitem__(self, index: int, value: int) -> None:
        if _sequences:  # since 1.4 a callback writes, before a function that `inline_ops` takes
            _sequences[-1].inline_ops(lambda buffer: buffer.__setitem__(index, value), [self])
            return
        if self.on_write is None or not self.writable:
            raise DesignError(f"buffer {self.name}: written by neither sequence nor kernel")
        self.on_write()
        self.array[index] = value


class Kernel:
    """A compiled function; calling it in a core runs it there."""

    def __init__(self, name: str, object_file_name: str, arg_types: list[Any]) -> None:
        self.name = name
        self.object_file_name = object_file_name
        self.arg_types = arg_types
        self.on_call: Callable[..., None] | None = None

    def __call__(self, *arguments: Any) -> None:
        """Run on the arguments, in the core whose turn it is."""
        if self.on_call is None:
            raise DesignError(f"kernel {self.name}: not an argument of the worker that calls it")
        if len(arguments) != len(self.arg_types):
            raise DesignError(f"kernel {self.name}: {len(arguments)} arguments, not as declared")
        self.on_call(self, *arguments)


class WorkerRuntimeBarrier:
    """Holds a worker until the sequence sets the value it waits for; waiting takes the value."""

    def __init__(self) -> None:
        self.port: Any = None

    def wait_for_value(self, value: int) -> None:
        """Wait in a core."""
        self.port.wait(value)

    def set(self, value: int) -> None:
        """Set it in the sequence; since 1.4."""
        find_sequence().set_barrier(self, value)

    def release_with_value(self, value: int) -> None:
        """Add to the lock in a core."""
        self.port.release(value)


class Worker:
    """The endless program of a core."""

    def __init__(
        self,
        core_fn: Callable[..., None],
        fn_args: list[Any],
        tile: Tile,
        *,
        stack_size: int = 1024,
    ) -> None:
        self.core_fn = core_fn
        self.fn_args = fn_args
        self.tile = tile
        self.stack_size = stack_size
        for handle in self.of(Handle):
            handle.tile = tile

    def of(self, kind: type) -> list[Any]:
        """Return the arguments of a kind."""
        return [argument for argument in self.fn_args if isinstance(argument, kind)]
