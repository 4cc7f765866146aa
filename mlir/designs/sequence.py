"""A sequence on either API of IRON: recorded calls up to mlir-aie 1.3, a callback from 1.4 on.

Everything else that the designs use is the same in both. A design writes its sequence as a function
of a `Recorded` or a `Called`, which have the same methods, and of its host buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aie import iron

HAS_CALLBACK = hasattr(iron, "TaskGroup")


class Recorded:
    """The steps of a sequence, recorded by a `Runtime` of mlir-aie 1.3."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def write(self, function: Callable[..., None], buffers: Sequence[Any]) -> None:
        """Let `function` write run-time parameters into `buffers`."""
        self._runtime.inline_ops(function, buffers)

    def set(self, barrier: Any, value: int) -> None:
        """Set a barrier."""
        self._runtime.set_barrier(barrier, value)

    def open_group(self) -> Any:
        """Return a group of transfers that end together."""
        return self._runtime.task_group()

    def fill(self, end: End, data: Any, tap: Any, group: Any) -> None:
        """Send words of a host buffer."""
        self._runtime.fill(end.handle, data, tap, group, tile=end.tile)

    def drain(self, end: End, data: Any, tap: Any, group: Any) -> None:
        """Take words into a host buffer, and await them with their group."""
        self._runtime.drain(end.handle, data, tap, group, wait=True, tile=end.tile)

    def finish(self, group: Any) -> None:
        """Await what is drained, then free the descriptors of all."""
        self._runtime.finish_task_group(group)


class Called:
    """The steps of a sequence, made at once in the callback of mlir-aie 1.4."""

    def write(self, function: Callable[..., None], buffers: Sequence[Any]) -> None:
        """Let `function` write run-time parameters into `buffers`."""
        function(*buffers)

    def set(self, barrier: Any, value: int) -> None:
        """Set a barrier."""
        barrier.set(value)

    def open_group(self) -> Any:
        """Return a group of transfers that end together."""
        return iron.TaskGroup()

    def fill(self, end: End, data: Any, tap: Any, group: Any) -> None:
        """Send words of a host buffer."""
        end.handle.fill(data, tap=tap, group=group)

    def drain(self, end: End, data: Any, tap: Any, group: Any) -> None:
        """Take words into a host buffer, and await them with their group."""
        end.handle.drain(data, tap=tap, wait=True, group=group)

    def finish(self, group: Any) -> None:
        """Await what is drained, then free the descriptors of all."""
        group.finish()


class End:
    """The shim's end of a fifo, which has its tile from 1.4 on, and each transfer before."""

    def __init__(self, fifo: Any, tile: Any, *, fills: bool) -> None:
        self.tile = tile
        make = fifo.prod if fills else fifo.cons
        self.handle = make(tile=tile) if HAS_CALLBACK else make()


def make_program(
    device: Any,
    workers: Sequence[Any],
    types: Sequence[Any],
    ends: Sequence[End],
    steps: Callable[..., None],
) -> Any:
    """Return the program whose sequence is `steps(sequence, *buffers)`, with buffers of `types`."""
    if HAS_CALLBACK:
        handles = [end.handle for end in ends]  # an argument: so the runtime knows of them
        runtime = iron.Runtime(
            lambda *arguments: steps(Called(), *arguments[: len(types)]), [*types, handles]
        )
        return iron.Program(device, runtime, workers=list(workers))
    runtime = iron.Runtime()
    with runtime.sequence(*types) as buffers:
        runtime.start(*workers)
        steps(Recorded(runtime), *buffers)
    return iron.Program(device, runtime)
