"""Run a stream on the simulated array: StreamSpec and buffers -> outputs and a prediction."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlir.host.library import load
from mlir.simulate import cost, iron, runtime
from mlir.simulate.machine import Machine
from mlir.simulate.sequence import Sequence
from whisper_npu_cli.engines.npu.spec import StreamSpec
from whisper_npu_cli.engines.npu.timing_model import PRETILED_GBPS, STREAM_BYTES, convert_cycles


@cache
def load_design() -> ModuleType:
    """Return `mlir.designs.whisper`, loaded on the stand-in for `aie.iron`."""
    runtime.install()
    from mlir.designs import whisper

    return whisper


def run_stream(spec: StreamSpec, buffers: Rows[NDArray[Any]]) -> cost.Prediction:
    """Run `spec` on its contiguous `buffers`, in the order of its arguments; write the last."""
    return run_program(load_design().make_program(spec), buffers)


def run_program(program: runtime.Program, buffers: Rows[NDArray[Any]]) -> cost.Prediction:
    """Run any program on its buffers; iron.DesignError where the array would refuse or hang."""
    kernels = {kernel.name: kernel for w in program.runtime.workers for kernel in w.of(iron.Kernel)}
    cycles = {name: cost.predict_kernel_cycles(kernel) for name, kernel in kernels.items()}
    machine = Machine(program, load(), cycles)
    try:
        sequence = Sequence(machine, [_view_words(buffer) for buffer in buffers])
        sequence.run(program)
    finally:
        machine.close()
    links = {channel.name: channel.moved_bytes for channel in machine.channels}
    host = sum(channel.moved_bytes for channel in machine.host_channels.values())
    return cost.Prediction(
        cycles=sequence.time,
        parts_ms={
            "compute": convert_cycles(max(core.busy for core in machine.cores)),
            "stream": convert_cycles(max(links.values()) / STREAM_BYTES),
            "memory": host / PRETILED_GBPS / 1e6,
            "control": convert_cycles(sequence.busy),
        },
        link_bytes=links,
        host_bytes=host,
    )


def _view_words(buffer: NDArray[Any]) -> NDArray[np.int32]:
    """View a buffer as words; a copy would lose what the array writes."""
    if not buffer.flags.c_contiguous:
        raise ValueError("device buffers are contiguous")
    return buffer.reshape(-1).view(np.int32)
