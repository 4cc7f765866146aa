"""The controller that executes a sequence: parameters, barriers, descriptors, queues, awaits.

It runs on the array's own microcontroller, one step after another, and every step costs time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import as_strided

from mlir.simulate.iron import Buffer, DesignError, itemsize, size_bytes
from mlir.simulate.limits import QUEUE_DEPTH
from mlir.simulate.machine import Machine
from mlir.simulate.pools import Task, Words
from mlir.simulate.runtime import Program, Step, TaskGroup, Transfer
from whisper_npu_cli.engines.npu.timing_model import AWAIT_MS, CLOCK_MHZ, DESCRIPTOR_MS

DESCRIPTOR_CYCLES = 1000 * CLOCK_MHZ * DESCRIPTOR_MS  # configure and push one
AWAIT_CYCLES = 1000 * CLOCK_MHZ * AWAIT_MS
WRITE_CYCLES = DESCRIPTOR_CYCLES / 10  # one register (inferred)


@dataclass(eq=False)
class Sequence:
    """Executes the steps of a program on a machine, with the host's buffers."""

    machine: Machine
    buffers: list[Words]
    time: float = 0.0
    busy: float = 0.0
    _tasks: dict[TaskGroup, list[tuple[Transfer, Task]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def run(self, program: Program) -> None:
        """Execute all steps; DesignError where the array would hang or go wrong."""
        self._check_buffers(program)
        for step in program.runtime.steps:
            if isinstance(step, Transfer):
                self._push(step)
            elif step.kind == "finish":
                self._finish(step.what)
            elif step.kind == "barrier":
                self._spend(WRITE_CYCLES)
                self.machine.settle()
                step.what.port.set(step.value, self.time)
            else:
                self._write(step)
        self.machine.settle()
        self._check_all_done()
        self.machine.check_idle()

    def _check_buffers(self, program: Program) -> None:
        if len(self.buffers) != len(program.runtime.data):
            raise DesignError(f"{len(self.buffers)} buffers for {len(program.runtime.data)}")

    def _spend(self, cycles: float) -> None:
        self.time += cycles
        self.busy += cycles

    def _write(self, step: Step) -> None:
        """Run the function of an inline step, which writes run-time parameters."""
        self.machine.settle()
        buffers = [argument for argument in step.value if isinstance(argument, Buffer)]
        for buffer in buffers:
            buffer.on_write = lambda: self._spend(WRITE_CYCLES)
        step.what(*step.value)
        for buffer in buffers:
            buffer.on_write = None

    def _push(self, transfer: Transfer) -> None:
        self._spend(DESCRIPTOR_CYCLES)
        channel = self.machine.host_channels[transfer.handle]
        name = f"{transfer.tile}, fifo {channel.name}"
        self.machine.settle()
        waiting = [t for t in channel.history if t.done_at is None or t.done_at > self.time]
        if len(waiting) >= QUEUE_DEPTH + 1:  # one runs, the others stand in the queue
            raise DesignError(f"{name}: more than {QUEUE_DEPTH} transfers in the queue")
        view = self._view(transfer)
        if transfer.handle.is_prod:
            task = Task(name, np.ascontiguousarray(view).reshape(-1), self.time)
        else:
            words = np.empty(view.size, np.int32)
            task = Task(name, words, self.time, lambda done: _store(view, done))
        channel.tasks.append(task)
        channel.history = [*waiting, task]
        self._tasks[transfer.group].append((transfer, task))
        self.machine.try_channel(channel)

    def _view(self, transfer: Transfer) -> Words:
        """Return the words of the host buffer in the order of the tap."""
        tap, index = transfer.tap, transfer.data.index
        if itemsize(transfer.data.array_type) != 4:
            raise DesignError(f"buffer {index}: the stand-in moves words of 4 bytes")
        buffer = self.buffers[index]
        if buffer.nbytes != size_bytes(transfer.data.array_type):
            raise DesignError(f"buffer {index}: {buffer.nbytes} bytes, not as declared")
        strides = [4 * stride for stride in tap.strides]
        view: Words = as_strided(buffer.view(np.int32)[tap.offset :], tap.sizes, strides)
        return view

    def _finish(self, group: TaskGroup) -> None:
        """Await the transfers that wait, then free the descriptors of all."""
        self.machine.settle()
        for transfer, task in self._tasks[group]:
            if not transfer.wait:
                continue
            if task.done_at is None:
                raise DesignError(
                    f"deadlock: the sequence awaits {task.name} "
                    f"({task.moved} of {task.words.size} words); {self.machine.describe_waits()}"
                )
            self.time = max(self.time, task.done_at)
            self._spend(AWAIT_CYCLES)
        for _, task in self._tasks.pop(group, []):
            if task.done_at is None or task.done_at > self.time:
                raise DesignError(f"{task.name}: its descriptor is freed while it runs")

    def _check_all_done(self) -> None:
        for channel in self.machine.channels:
            for task in channel.tasks:
                raise DesignError(
                    f"the sequence ended before {task.name} ({task.moved} of {task.words.size} "
                    f"words); {self.machine.describe_waits()}"
                )


def _store(view: Words, done: Words) -> None:
    view[...] = done.reshape(view.shape)
