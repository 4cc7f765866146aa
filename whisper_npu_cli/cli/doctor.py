"""`whisper-npu doctor`: checks of this machine, which compute on its engines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisper_npu_cli.cli.completion import complete_device, complete_model
from whisper_npu_cli.cli.console import show_status
from whisper_npu_cli.cli.fields import Only, from_fields
from whisper_npu_cli.devices import list_devices
from whisper_npu_cli.options import EngineOptions

if TYPE_CHECKING:
    from whisper_npu_cli.check import Check

_NPU = "npu."  # how the checks of the NPU begin
_OVERLAY = "npu.overlay"
_COMPUTED = ("npu.selftest", "npu.clock")  # by --selftest


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
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print every check, in the order made.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check this machine by computing on each of its engines.

    The first line is the verdict. Below it is what is wrong and what to do, then what is
    right: versions, CPU, cache folder, model, engines and the NPU.

    Exit status 0 where transcription works, 1 where it does not; 3 where the device that
    --device asks for cannot be used.

    Example: whisper-npu doctor --model small
    """
    from dataclasses import asdict

    from whisper_npu_cli.doctor import DoctorOptions, run_checks

    EngineOptions(device)  # UsageError where there is no such device
    with show_status("checking this machine"):
        found = run_checks(DoctorOptions(model, root, engine.xclbins, selftest, device))
        checks = _drop_vain_hints(list(found))
    status = _choose_status(checks, device)
    verdict = _judge(checks, status)
    if as_json:
        rows = [asdict(check) for check in checks]
        print(json.dumps({"schema_version": 1, "verdict": verdict, "checks": rows}))
    else:
        _print(verdict, checks if verbose else _choose_rows(checks))
    if status:
        raise typer.Exit(status)


def _drop_vain_hints(checks: list[Check]) -> list[Check]:
    """Return the checks without advice to build an overlay where no NPU is to run it."""
    from dataclasses import replace

    if _has_npu(checks):
        return checks
    return [replace(check, hint=None) if check.id == _OVERLAY else check for check in checks]


def _has_npu(checks: list[Check]) -> bool:
    """Return whether there is an NPU of the generation that overlays are for."""
    return any(check.id == "npu.generation" and check.passed for check in checks)


def _choose_status(checks: list[Check], device: str) -> int:
    """Return 3 where the requested device is not usable, 1 where something else failed."""
    from whisper_npu_cli.check import FAILED

    failed = {check.id for check in checks if check.status == FAILED}
    npu = [check for check in checks if check.id.startswith(_NPU)]
    if failed - {f"engine.{device}", *(check.id for check in npu)}:
        return 1
    if f"engine.{device}" in failed:
        return 3
    return 3 if device == "npu" and not all(check.passed for check in npu) else 0


def _judge(checks: list[Check], status: int) -> str:
    """Return in one line what works here, and why the rest does not."""
    from whisper_npu_cli.check import FAILED, SKIPPED

    npu = [check for check in checks if check.id.startswith(_NPU)]
    others = [check for check in checks if check not in npu]
    failed = [check for check in others if check.status == FAILED]
    fault = next((c for c in npu if not c.passed and c.status != SKIPPED), None)
    if failed:
        asked = failed[0].id.removeprefix("engine.")
        what = f"{asked} cannot be used" if status == 3 else "transcription does not work"
        return f"{what} here: {_explain(failed[0])}"
    if fault:
        works = "transcription works here, on the CPU; " if others and not status else ""
        return f"{works}the NPU cannot be used: {_explain(fault)}"
    is_computed = any(check.id == _COMPUTED[0] for check in npu)
    proof = "" if is_computed else " (--selftest computes on it)"
    return f"transcription works here, on the NPU{proof}{' and on the CPU' if others else ''}"


def _explain(check: Check) -> str:
    return check.cause or check.detail


def _choose_rows(checks: list[Check]) -> list[Check]:
    """Return what matters: all that is not right, then what is, the NPU's in one row."""
    from whisper_npu_cli.check import OK, SKIPPED, Check

    right = [check for check in checks if check.status == OK]
    wrong = [check for check in checks if check.status not in (OK, SKIPPED)]
    if not _has_npu(checks):
        wrong = [check for check in wrong if check.id != _OVERLAY]
    seen = [check for check in right if check.id.startswith(_NPU) and check.id not in _COMPUTED]
    n_seen = f"{len(seen)} checks passed (--verbose shows them)"
    summary = [Check("npu", OK, n_seen)] if seen else []
    return [*wrong, *(check for check in right if check not in seen), *summary]


def _print(verdict: str, checks: list[Check]) -> None:
    """Print the verdict and a row for each check, folded where stdout is a terminal."""
    from shutil import get_terminal_size
    from textwrap import fill

    width = get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    name_width = max((len(check.id) for check in checks), default=0)
    margin = " " * (9 + name_width + 1)
    print(fill(verdict, width))
    for check in checks:
        lines = [f"{check.status:8} {check.id:{name_width}} {check.detail}"]
        told = (("cause", check.cause), ("hint", check.hint))
        lines += [f"{margin}{label}: {text}" for label, text in told if text]
        for line in lines:
            print(fill(line, max(width, 2 * len(margin)), subsequent_indent=margin))
