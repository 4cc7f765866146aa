"""The planner's quick model beside the simulated array, for every stream of whisper-base."""

from __future__ import annotations

import numpy as np
import pytest

from mlir.simulate import cost
from mlir.simulate.iron import Kernel
from mlir.simulate.run import load_design, run_stream
from whisper_npu_cli.checkpoints.random import random_dims
from whisper_npu_cli.engines.npu.plan import plan_encoder
from whisper_npu_cli.engines.npu.timing_model import KERNEL_CYCLES, LIST_MS, predict_stream_ms


@pytest.mark.parametrize("name", KERNEL_CYCLES)
def test_calls_cost_what_the_kernels_count(name: str) -> None:
    counted = cost.predict_kernel_cycles(Kernel(name, *load_design().KERNELS[name]))
    assert pytest.approx(counted, abs=0.5) == KERNEL_CYCLES[name]  # the table is in whole cycles


def test_planner_and_simulator_agree() -> None:
    plan = plan_encoder(random_dims("base"))
    simulated = {
        spec: run_stream(spec, [np.zeros(a.size_bytes, np.uint8) for a in spec.arguments])
        for spec in plan.specs
    }
    for spec, found in simulated.items():
        # the planner knows how often a kernel runs, not when an element arrives
        assert predict_stream_ms(spec) == pytest.approx(found.array_ms, rel=0.1), spec.name
    window_ms = sum(LIST_MS + simulated[step.spec].array_ms for step in plan.steps)
    assert plan.predict_ms(1800) == pytest.approx(window_ms, rel=0.05)
