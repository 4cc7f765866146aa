"""Open the stand-in as `--device sim` does: an overlay made for the streams asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from whisper_npu_cli.npu.standin import build, chip, pyxrt
from whisper_npu_cli.npu.standin.faults import VARIABLE, parse_faults
from whisper_npu_cli.npu.xrt import XrtRuntime
from whisper_npu_cli.overlay import Manifest, StreamSpec


def open_standin(
    folder: Path, specs: Iterable[StreamSpec], attempt: int = 0
) -> tuple[XrtRuntime, Manifest]:
    """Build an overlay with streams `specs` in `folder` and open a chip that knows them.

    Faults come from the environment; `attempt` counts the workers of this run. Device times are
    the timing model's.
    """
    manifest = build.build_overlay(folder, specs)
    faults = parse_faults(os.environ.get(VARIABLE, ""), attempt)
    machine = chip.plug_in(chip.Chip(build.operators(manifest), faults))
    return XrtRuntime(pyxrt, lambda: machine.elapsed_ms / 1000), manifest
