"""The stand-in accepts no call that the real `aie.iron` would understand otherwise.

The signatures below are those of mlir-aie at commit 979629649 (23 April 2026), without `self`. What
1.4 (30 July 2026) has in the place of some is as `whole_array_dyn.py` calls it, by keyword.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from mlir.simulate import iron, runtime

LAYOUT = "dims_to_stream dims_from_stream plio"
REAL = {
    iron.Buffer: "type initial_value name tile use_write_rtp",
    iron.Kernel: "name object_file_name arg_types",
    iron.Worker: "core_fn fn_args tile while_true stack_size allocation_scheme trace trace_events",
    iron.WorkerRuntimeBarrier: "initial_value",
    iron.WorkerRuntimeBarrier.wait_for_value: "value",
    iron.WorkerRuntimeBarrier.release_with_value: "value",
    iron.ObjectFifo: "obj_type depth name dims_to_stream dims_from_stream_per_cons plio",
    iron.ObjectFifo.prod: "depth tile",
    iron.ObjectFifo.cons: "depth dims_from_stream tile",
    iron.Handle.fill: "source tap group wait",
    iron.Handle.drain: "dest tap group wait",
    iron.WorkerRuntimeBarrier.set: "value",
    runtime.CallbackRuntime: "seq_fn fn_args",
    runtime.make_group: "",
    runtime.TaskGroup.finish: "",
    iron.Handle.acquire: "num_elem",
    iron.Handle.release: "num_elem",
    iron.Handle.join: f"offsets tile depths obj_types names {LAYOUT}",
    iron.Handle.split: f"offsets tile depths obj_types names {LAYOUT}",
    iron.Handle.forward: f"tile obj_type depth name {LAYOUT}",
    iron.Tile: "col row",
    runtime.TensorAccessPattern: "tensor_dims offset sizes strides",
    runtime.Program: "device rt workers",
    runtime.Runtime.sequence: "input_types",
    runtime.Runtime.start: "args",
    runtime.Runtime.inline_ops: "inline_func inline_args",
    runtime.Runtime.set_barrier: "barrier value",
    runtime.Runtime.task_group: "",
    runtime.Runtime.finish_task_group: "task_group",
    runtime.Runtime.fill: "in_fifo source tap task_group wait tile",
    runtime.Runtime.drain: "out_fifo dest tap task_group wait tile",
    runtime.range_: "start stop step iter_args insert_yield",
}


@pytest.mark.parametrize("ours", REAL, ids=lambda ours: ours.__qualname__)
def test_parameters_have_the_real_names_and_places(ours: Callable[..., object]) -> None:
    real = REAL[ours].split()
    parameters = [p for p in inspect.signature(ours).parameters.values() if p.name != "self"]
    for place, parameter in enumerate(parameters):
        assert parameter.name in real
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            assert real[place] == parameter.name
