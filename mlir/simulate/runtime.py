"""The host's side of `aie.iron`: taps, the sequence, the program; and what `import aie` finds.

Same rules as in `iron.py`. `install` makes the designs import these classes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from types import ModuleType
from typing import Any, NoReturn

from mlir.simulate.iron import (
    NPU1,
    Buffer,
    DesignError,
    Handle,
    Kernel,
    ObjectFifo,
    Tile,
    Worker,
    WorkerRuntimeBarrier,
    find_sequence,
    run_callback,
)


class TensorAccessPattern:
    """An order in which a transfer visits an array: sizes and strides, outermost first."""

    def __init__(
        self, tensor_dims: list[int], offset: int, sizes: list[int], strides: list[int]
    ) -> None:
        if len(sizes) != len(strides) or min(sizes) < 1 or min(strides) < 0:
            raise DesignError(f"tap: sizes {sizes} and strides {strides}")
        self.n_elements = prod(tensor_dims)
        self.offset = offset
        self.sizes = sizes
        self.strides = strides


@dataclass(eq=False)
class Data:
    """A host buffer of the sequence."""

    index: int
    array_type: Any


@dataclass(eq=False)
class TaskGroup:
    """Transfers that end together."""

    finished: bool = False

    def finish(self) -> None:
        """Await what waits, then free the descriptors of all; since 1.4."""
        find_sequence().finish_task_group(self)


@dataclass(eq=False)
class Transfer:
    """A fill or a drain."""

    handle: Handle
    data: Data
    tap: TensorAccessPattern
    group: TaskGroup
    wait: bool
    tile: Tile


@dataclass(eq=False)
class Step:
    """Any other step of the sequence: `kind` is inline, barrier or finish."""

    kind: str
    what: Any
    value: Any = None


@dataclass
class Runtime:
    """The sequence."""

    data: list[Data] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    steps: list[Transfer | Step] = field(default_factory=list)
    groups: list[TaskGroup] = field(default_factory=list)

    @contextmanager
    def sequence(self, *input_types: Any) -> Iterator[Any]:
        """Yield the host buffers: one alone, several as a tuple."""
        self.data = [Data(index, array_type) for index, array_type in enumerate(input_types)]
        yield self.data[0] if len(input_types) == 1 else tuple(self.data)
        self._check_finished()

    def _check_finished(self) -> None:
        if any(not group.finished for group in self.groups):
            raise DesignError("sequence: a task group is not finished")

    def start(self, *args: Worker) -> None:
        """Start workers."""
        self.workers.extend(args)

    def inline_ops(self, inline_func: Callable[..., None], inline_args: list[Any]) -> None:
        """Run `inline_func` in the sequence: it writes run-time parameters."""
        self.steps.append(Step("inline", inline_func, inline_args))

    def set_barrier(self, barrier: WorkerRuntimeBarrier, value: int) -> None:
        """Let the barrier's worker pass."""
        self.steps.append(Step("barrier", barrier, value))

    def task_group(self) -> TaskGroup:
        """Open a group."""
        self.groups.append(TaskGroup())
        return self.groups[-1]

    def finish_task_group(self, task_group: TaskGroup) -> None:
        """Await what waits, then free the descriptors of all."""
        task_group.finished = True
        self.steps.append(Step("finish", task_group))

    def fill(
        self,
        in_fifo: Handle,
        source: Data,
        tap: TensorAccessPattern,
        task_group: TaskGroup,
        *,
        wait: bool = False,
        tile: Tile,
    ) -> None:
        """Send words of a host buffer into a fifo."""
        self._transfer(Transfer(in_fifo, source, tap, task_group, wait, tile))

    def drain(
        self,
        out_fifo: Handle,
        dest: Data,
        tap: TensorAccessPattern,
        task_group: TaskGroup,
        *,
        wait: bool = False,
        tile: Tile,
    ) -> None:
        """Take words out of a fifo into a host buffer."""
        self._transfer(Transfer(out_fifo, dest, tap, task_group, wait, tile))

    def _transfer(self, transfer: Transfer) -> None:
        if transfer.data not in self.data:
            raise DesignError(f"fifo {transfer.handle.fifo.name}: buffer of another sequence")
        if transfer.group.finished:
            raise DesignError(f"fifo {transfer.handle.fifo.name}: its task group is finished")
        fifo = transfer.handle.fifo
        if not transfer.handle.is_prod:  # each cons() makes a handle; the runtime has one end
            ends = [end for end in fifo.consumers if end.tile is not None]
            fifo.consumers[:] = ends or [transfer.handle]
            transfer.handle = fifo.consumers[0]
        transfer.handle.tile = transfer.tile
        self.steps.append(transfer)


class CallbackRuntime(Runtime):
    """The sequence as mlir-aie 1.4 has it: what a function does, called with its arguments."""

    def __init__(self, seq_fn: Callable[..., None], fn_args: list[Any]) -> None:
        super().__init__()
        arguments = [self._declare(argument) for argument in fn_args]
        with run_callback(self):
            seq_fn(*arguments)
        self._check_finished()

    def _declare(self, argument: Any) -> Any:
        """Return a host buffer for a type; what is no type is passed on."""
        if not hasattr(argument, "__args__"):
            return argument
        self.data.append(Data(len(self.data), argument))
        return self.data[-1]


def make_group() -> TaskGroup:
    """Open a group of the sequence whose callback runs: `TaskGroup()` of mlir-aie 1.4."""
    group: TaskGroup = find_sequence().task_group()
    return group


class Program:
    """A design for a device."""

    def __init__(self, device: NPU1, rt: Runtime, workers: Sequence[Worker] = ()) -> None:
        self.device = device
        self.runtime = rt
        rt.workers.extend(workers)  # since 1.4; before, the sequence starts them

    def find_fifos(self) -> list[ObjectFifo]:
        """Return every fifo that workers or the sequence reach, by name."""
        found: dict[str, ObjectFifo] = {}

        def visit(fifo: ObjectFifo) -> None:
            if fifo.name in found:
                if found[fifo.name] is not fifo:
                    raise DesignError(f"two fifos are called {fifo.name}")
                return
            found[fifo.name] = fifo
            for end in [fifo.producer, *fifo.consumers]:
                if end is not None and end.link is not None:
                    for other in [end.link.whole, *end.link.parts]:
                        visit(other.fifo)

        for worker in self.runtime.workers:
            for handle in worker.of(Handle):
                visit(handle.fifo)
        for step in self.runtime.steps:
            if isinstance(step, Transfer):
                visit(step.handle.fifo)
        return [found[name] for name in sorted(found)]


def range_(start: int) -> range:
    """Return a loop of the core with `start` turns, a number known only when it runs."""
    return range(start)


def _refuse(name: str) -> NoReturn:
    if name.startswith("__"):  # asked of every module by inspection, not by a design
        raise AttributeError(name)
    raise ImportError(
        f"{name}: with one fifo in both branches of if_/else_ the second loses its acquire; use "
        "range_ with 0 or 1 turns"
    )


MODULES: dict[str, dict[str, Any]] = {
    "aie": {},
    "aie.iron": {
        kind.__name__: kind
        for kind in (Buffer, Kernel, ObjectFifo, Program, Runtime, Worker, WorkerRuntimeBarrier)
    },
    "aie.iron.controlflow": {"range_": range_},
    "aie.iron.device": {"NPU1": NPU1, "Tile": Tile},
    "aie.helpers": {},
    "aie.helpers.dialects": {},
    "aie.helpers.dialects.scf": {"__getattr__": _refuse},
    "aie.helpers.taplib": {"TensorAccessPattern": TensorAccessPattern},
}


def install(*, callback: bool = False) -> None:
    """Let `import aie.iron` find this file; an installed mlir-aie is hidden in this process.

    With `callback` it has what mlir-aie 1.4 has in the place of 1.3's.
    """
    changed = {"Runtime": CallbackRuntime, "TaskGroup": make_group} if callback else {}
    modules = MODULES | {"aie.iron": MODULES["aie.iron"] | changed}
    for name, content in modules.items():
        module = ModuleType(name)
        module.__dict__.update(content, __path__=[])
        sys.modules[name] = module
