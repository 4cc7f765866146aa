"""Open the stand-in as `--device sim` does: an overlay made for the streams asked for."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from whisper_npu_cli.engines.npu.manifest import Manifest
from whisper_npu_cli.engines.npu.spec import StreamSpec
from whisper_npu_cli.engines.npu.standin import build, chip, pyxrt
from whisper_npu_cli.engines.npu.standin.faults import VARIABLE, parse_faults
from whisper_npu_cli.engines.npu.xrt import XrtRuntime
from whisper_npu_cli.errors import OverlayError

EXACT_VARIABLE = "WHISPER_NPU_EXACT"  # set by --exact: run the designs and compiled kernels
CHECKOUT = Path(__file__).parents[4]


def open_standin(
    folder: Path, specs: Iterable[StreamSpec], attempt: int = 0
) -> tuple[XrtRuntime, Manifest]:
    """Build an overlay with streams `specs` in `folder` and open a chip that knows them.

    Faults come from the environment; `attempt` counts the workers of this run. Device times are
    the timing model's.
    """
    manifest = build.build_overlay(folder, specs)
    faults = parse_faults(os.environ.get(VARIABLE, ""), attempt)
    machine = chip.plug_in(chip.Chip(_operators(manifest), faults))
    return XrtRuntime(pyxrt, lambda: machine.elapsed_ms / 1000), manifest


def _operators(manifest: Manifest) -> Mapping[str, chip.Operator]:
    """Return NumPy's operators, or the simulated array's, which only a checkout has."""
    if not os.environ.get(EXACT_VARIABLE):
        return build.operators(manifest)
    if not (CHECKOUT / "mlir" / "simulate").is_dir():
        raise OverlayError("--exact runs the overlay's sources: only a checkout has them")
    sys.path.insert(0, str(CHECKOUT))
    try:
        found: Mapping[str, chip.Operator] = importlib.import_module(
            "mlir.simulate.operators"
        ).operators(manifest)
    finally:
        sys.path.remove(str(CHECKOUT))
    return found
