"""What a simulated window costs, as text: one row per command, predictions labelled."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable

from mlir.simulate.cost import Prediction
from mlir.simulate.limits import CORE, map_memory
from mlir.simulate.runtime import Program
from whisper_npu_cli.engines.npu.spec import StreamSpec
from whisper_npu_cli.engines.npu.timing_model import CLOCK_MHZ

Row = tuple[StreamSpec, Prediction]


def describe_memory(program: Program) -> str:
    """Return where the bytes of a core go."""
    rows = map_memory(program.runtime.workers[0])
    used = ", ".join(f"{name} {size}" for name, size in rows.items())
    return f"core memory: {used}; {sum(rows.values())} of {CORE.memory_bytes} bytes"


def format_table(rows: Iterable[Row]) -> str:
    """Return the commands by stream: how often, predicted ms, cycles, bytes, bottleneck."""
    rows = list(rows)
    calls = Counter(spec for spec, _ in rows)
    lines = [
        f"{'stream':44} {'calls':>5} {'predicted ms':>12} {'cycles':>10} {'MB':>7}  bottleneck",
    ]
    for spec, prediction in dict(rows).items():
        lines.append(
            f"{spec.name:44} {calls[spec]:5} {prediction.ms:12.3f} {prediction.cycles:10.0f} "
            f"{prediction.host_bytes / 1e6:7.1f}  {prediction.bottleneck}"
        )
    total = sum(prediction.ms for _, prediction in rows)
    moved = sum(prediction.host_bytes for _, prediction in rows)
    clock = f"predicted at {CLOCK_MHZ / 1000} GHz"
    lines.append(f"{clock}: {total:.1f} ms, {moved / 1e6:.0f} MB a window")
    for op in ("spectrum", "gemm", "attention", "layernorm"):
        part = sum(prediction.ms for spec, prediction in rows if spec.op == op)
        lines.append(f"  {op:10} {part:6.1f} ms predicted")
    return "\n".join([*lines, format_links(rows)])


def format_links(rows: Iterable[Row]) -> str:
    """Return how much passes each fifo."""
    moved: Counter[str] = Counter()
    for _, prediction in rows:
        moved.update(prediction.link_bytes)
    each = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sorted(moved.items()))
    return textwrap.fill(f"MB by link: {each}", 100)
