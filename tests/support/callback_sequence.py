"""Build and run designs on what mlir-aie 1.4 has: `python -m tests.support.callback_sequence`.

In a process of its own, for the designs are imported on one set of names.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from typing import Any

import numpy as np

from mlir.simulate import run, runtime
from whisper_npu_cli.engines.npu.spec import StreamSpec


def describe_steps(program: runtime.Program) -> list[str]:
    """Return the steps of a sequence but for the parameters, which a run reads."""
    groups = {group: number for number, group in enumerate(program.runtime.groups)}
    rows = []
    for step in program.runtime.steps:
        if isinstance(step, runtime.Transfer):
            tap, name = step.tap, step.handle.fifo.name
            where = f"{step.tile} {step.data.index} {tap.offset} {tap.sizes} {tap.strides}"
            rows.append(f"{name} {where} {groups[step.group]} {step.wait}")
        elif step.kind != "inline":
            rows.append(f"{step.kind} {groups.get(step.what)} {step.value}")
    return rows


def run_on_noise(spec: StreamSpec, design: Any) -> dict[str, Any]:
    """Return the steps of a stream, and a hash of what it computes."""
    rng = np.random.default_rng(0)
    buffers = [
        (rng.standard_normal(row.size_bytes // 4) * 0.1).astype(np.float32).view(np.int32)
        for row in spec.arguments
    ]
    program = design.make_program(spec)
    run.run_program(program, buffers)
    return {
        "steps": describe_steps(program),
        "output": sha256(buffers[-1].tobytes()).hexdigest(),
    }


if __name__ == "__main__":
    runtime.install(callback=True)
    from mlir.designs import whisper

    spec = StreamSpec(**json.loads(sys.argv[1]))
    print(json.dumps(run_on_noise(spec, whisper)))
