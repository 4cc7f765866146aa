"""Open the stand-in as `--device sim` does: an overlay made for the streams asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from whisper_npu_cli.engines.npu.manifest import Manifest
from whisper_npu_cli.engines.npu.spec import StreamSpec
from whisper_npu_cli.engines.npu.standin import build, chip, pyxrt
from whisper_npu_cli.engines.npu.standin.faults import parse_faults
from whisper_npu_cli.engines.npu.xrt import XrtRuntime
from whisper_npu_cli.environment import FAULTS_VARIABLE

# What each instruction stream of an overlay computes, by its hash
Operators: TypeAlias = Callable[[Manifest], Mapping[str, chip.Operator]]


def open_standin(
    folder: Path,
    specs: Iterable[StreamSpec],
    attempt: int = 0,
    operators: Operators = build.make_operators,
) -> tuple[XrtRuntime, Manifest]:
    """Build an overlay with streams `specs` in `folder` and open a chip that knows them.

    Faults come from the environment; `attempt` counts the workers of this run. Device times are
    those that the operators predict.
    """
    manifest = build.build_overlay(folder, specs)
    faults = parse_faults(os.environ.get(FAULTS_VARIABLE, ""), attempt)
    machine = chip.plug_in(chip.Chip(operators(manifest), faults))
    return XrtRuntime(pyxrt, lambda: machine.elapsed_ms / 1000), manifest
