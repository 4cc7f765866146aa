"""The text of a simulated window."""

from __future__ import annotations

import pytest

from mlir.simulate import report
from mlir.simulate.cost import Prediction
from mlir.simulate.run import load_design
from whisper_npu_cli.engines.npu.spec import StreamSpec
from whisper_npu_cli.engines.npu.timing_model import LIST_MS

SPEC = StreamSpec("gemm", 256, 64, 256, "f32")


def prediction(cycles: float, memory_ms: float) -> Prediction:
    parts = {"compute": 0.5, "stream": 0.1, "memory": memory_ms, "control": 0.2}
    return Prediction(cycles, parts, {"a0": 100_000, "a0_core": 400_000}, 1_000_000)


def test_the_longer_of_cycles_and_memory_counts() -> None:
    assert prediction(1.8e6, 0.3).ms == pytest.approx(LIST_MS + 1.0)
    assert prediction(1.8e6, 2.0).ms == pytest.approx(LIST_MS + 2.0)
    assert prediction(1.8e6, 2.0).bottleneck == "memory"
    assert prediction(1.8e6, 0.3).bottleneck == "compute"


def test_table_sums_and_says_predicted() -> None:
    text = report.format_table([(SPEC, prediction(1.8e6, 0.3))] * 3)
    row = next(line for line in text.splitlines() if line.startswith(SPEC.name))
    assert row.split()[1:] == ["3", "1.036", "1800000", "1.0", "compute"]
    assert "predicted at 1.8 GHz: 3.1 ms, 3 MB a window" in text
    assert text.endswith("MB by link: a0 0.3, a0_core 1.2")


def test_core_memory_names_every_buffer() -> None:
    text = report.describe_memory(load_design().make_program(SPEC))
    for name in ("stack", "acc0_0", "state0_0", "rtp0_0", "a0_core", "b0_core", "c0_core0"):
        assert name in text
