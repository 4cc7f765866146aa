"""`whisper-npu doctor`: checks of this machine, which compute on its engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisper_npu_cli.cli.completion import complete_device, complete_model
from whisper_npu_cli.cli.fields import Only, from_fields
from whisper_npu_cli.devices import list_devices
from whisper_npu_cli.options import EngineOptions

if TYPE_CHECKING:
    from whisper_npu_cli.check import Check


@from_fields
def doctor(
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", autocompletion=complete_model, help="Model to look for in the cache."
        ),
    ] = "base",
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            autocompletion=complete_device,
            help=f"What must work: {', '.join(list_devices())}; auto is any engine.",
        ),
    ] = "auto",
    selftest: Annotated[
        bool, typer.Option("--selftest", help="Also compute on the NPU: every stream, a window.")
    ] = False,
    root: Annotated[
        Path, typer.Option(help="Judge the NPU of a captured /sys, /proc, /dev below this folder.")
    ] = Path("/"),
    engine: Annotated[EngineOptions, Only("xclbins")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check this machine by computing on each of its engines.

    Also shown: versions, CPU, cache folder, models, and every check of the NPU.

    Exit status 0 where transcription works, 1 where it does not; 3 where the device that
    --device asks for cannot be used.

    Example: whisper-npu doctor --model small
    """
    from dataclasses import asdict

    from whisper_npu_cli.doctor import DoctorOptions, run_checks

    EngineOptions(device)  # UsageError where there is no such device
    checks = []
    for check in run_checks(DoctorOptions(model, root, engine.xclbins, selftest, device)):
        checks.append(check)
        if not as_json:
            _print(check)
    if as_json:
        print(json.dumps({"schema_version": 1, "checks": [asdict(check) for check in checks]}))
    status = _choose_status(checks, device)
    if status:
        raise typer.Exit(status)


def _print(check: Check) -> None:
    print(f"{check.status:8} {check.id:20} {check.detail}", flush=True)
    for label, text in (("cause", check.cause), ("hint", check.hint)):
        if text:
            print(f"{'':8} {'':20} {label}: {text}", flush=True)


def _choose_status(checks: list[Check], device: str) -> int:
    """Return 3 where the requested device is not usable, 1 where something else failed."""
    from whisper_npu_cli.check import FAILED

    failed = {check.id for check in checks if check.status == FAILED}
    npu = [check for check in checks if check.id.startswith("npu.")]
    if failed - {f"engine.{device}", *(check.id for check in npu)}:
        return 1
    if f"engine.{device}" in failed:
        return 3
    return 3 if device == "npu" and not all(check.passed for check in npu) else 0
