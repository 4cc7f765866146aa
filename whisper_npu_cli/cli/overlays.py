"""`whisper-npu overlays`: the NPU's overlays, built and checked, and the encoder's plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whisper_npu_cli.cli.fields import Only, from_fields
from whisper_npu_cli.options import EngineOptions

if TYPE_CHECKING:
    from whisper_npu_cli.engines.npu.manifest import Manifest
    from whisper_npu_cli.engines.npu.plan import Plan, Step, WindowTime

app = typer.Typer(no_args_is_help=True, help="Build and inspect the NPU's overlays; show its plan.")

_Xclbins = Annotated[EngineOptions, Only("xclbins")]
_Model = Annotated[str, typer.Option("--model", "-m", help="Model whose encoder is planned.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
@from_fields
def build(engine: _Xclbins) -> None:
    """Build the overlay for this machine's NPU, or what of it is not built.

    It says which tools are missing, and how they are installed; exit status 2 then.

    Example: whisper-npu overlays build
    """
    import subprocess
    import sys

    from whisper_npu_cli.engines.npu.manifest import choose_folder
    from whisper_npu_cli.environment import find_shipped
    from whisper_npu_cli.errors import OutputError

    folder = engine.xclbins or choose_folder()
    if folder is None:
        raise OutputError("this user has no home to build into", hint="name a folder: --xclbins")
    command = [sys.executable, "-m", "mlir.build", "--xclbins", str(folder.absolute())]
    done = subprocess.run(command, cwd=find_shipped("mlir").parent, check=False)
    raise typer.Exit(done.returncode)


@app.command()
@from_fields
def status(engine: _Xclbins) -> None:
    """Show what is built: overlays, instruction streams, tools. "Not built" is no error.

    Example: whisper-npu overlays status
    """
    from whisper_npu_cli.engines.npu.manifest import HINT_BUILD

    manifest = _load(engine.xclbins)
    if manifest is None:
        typer.echo(f"not built: {HINT_BUILD}")
        return
    typer.echo(f"{manifest.path}")
    typer.echo(", ".join(f"{tool} {version}" for tool, version in manifest.toolchain.items()))
    for overlay in manifest.overlays:
        typer.echo(f"{overlay.name}: {overlay.device}, {overlay.columns} columns")
        for stream in overlay.streams:
            typer.echo(f"  {stream.spec.name:<36} {stream.sha256[:12]}")


@app.command()
@from_fields
def verify(engine: _Xclbins) -> None:
    """Check what is built against its manifest.

    Hashes, sources, device, columns, kernel and arguments; exit status 3 on a mismatch.

    Example: whisper-npu overlays verify
    """
    from whisper_npu_cli.engines.npu.manifest import HINT_BUILD
    from whisper_npu_cli.engines.npu.manifest import verify as verify_files
    from whisper_npu_cli.engines.npu.xclbin import check_overlay
    from whisper_npu_cli.errors import OverlayError

    manifest = _load(engine.xclbins)
    if manifest is None:
        raise OverlayError("the NPU overlay is not built", hint=HINT_BUILD)
    verify_files(manifest)
    for overlay in manifest.overlays:
        check_overlay(manifest.path.parent, overlay)
        typer.echo(f"{overlay.name}: {len(overlay.streams)} streams, all as built")


@app.command()
def plan(
    model: _Model = "base",
    clock_mhz: Annotated[int, typer.Option(help="Clock of the array in MHz.")] = 1800,
    as_json: _Json = False,
) -> None:
    """Print a window's commands, buffers and predicted time.

    Example: whisper-npu overlays plan --model base
    """
    from whisper_npu_cli.checkpoints.names import find_dims
    from whisper_npu_cli.engines.npu.plan import plan_encoder

    planned = plan_encoder(find_dims(model))
    if as_json:
        typer.echo(json.dumps(_describe_plan(planned, clock_mhz)))
        return
    for line in _format_plan(planned, clock_mhz):
        typer.echo(line)


def _load(xclbins: Path | None) -> Manifest | None:
    from whisper_npu_cli.engines.npu.manifest import find_manifest, load_manifest

    path = find_manifest(xclbins)
    return load_manifest(path) if path else None


def _describe_plan(plan: Plan, clock_mhz: int) -> dict[str, Any]:
    from dataclasses import asdict

    from whisper_npu_cli.engines.npu.timing_model import CLOCKS_MHZ

    return {
        "schema_version": 1,
        "clock_mhz": clock_mhz,
        "predicted_device_ms": plan.predict_ms(clock_mhz),
        "predicted_mel_ms": plan.predict_mel_ms(clock_mhz),
        "windows": [asdict(plan.predict_window(clock)) for clock in CLOCKS_MHZ],
        "streams": [asdict(spec) for spec in plan.specs],
        "mel": _describe_steps(plan.mel, clock_mhz),
        "lists": [_describe_steps(steps, clock_mhz) for steps in plan.lists],
    }


def _describe_steps(steps: Sequence[Step], clock_mhz: int) -> list[dict[str, Any]]:
    from whisper_npu_cli.engines.npu.timing_model import predict_stream_ms

    return [
        {
            "name": step.name,
            "stream": step.spec.name,
            "buffers": step.buffers,
            "predicted_ms": predict_stream_ms(step.spec, clock_mhz),
        }
        for step in steps
    ]


def _format_plan(plan: Plan, clock_mhz: int) -> list[str]:
    from whisper_npu_cli.engines.npu.timing_model import (
        CLOCKS_MHZ,
        LIST_MS,
        predict_stream_ms,
        sum_by_operation,
    )

    lines = []
    for name, steps in [("mel", plan.mel), *enumerate(plan.lists)]:
        lines.append(f"run list {name}")
        lines += [
            f"  {step.name:<20} {step.spec.name:<36} "
            f"{predict_stream_ms(step.spec, clock_mhz):7.3f} ms  {' '.join(step.buffers)}"
            for step in steps
        ]
    resident = sum(argument.size_bytes for argument in plan.buffers.values())
    lines.append(
        f"{len(plan.steps)} commands in {len(plan.lists)} run lists, {len(plan.mel)} of mel, "
        f"{len(plan.specs)} instruction streams, {resident / 1e6:.0f} MB of buffers"
    )
    lines.append(f"predicted at {clock_mhz} MHz, ms in one window of 30 s:")
    parts = sum_by_operation((step.spec for step in plan.steps), clock_mhz)
    parts["dispatch"] = LIST_MS * len(plan.steps)
    lines += [f"  {part:<12} {ms:7.2f}" for part, ms in parts.items()]
    lines.append(f"  {'device':<12} {plan.predict_ms(clock_mhz):7.2f}")
    lines += [str(decision) for decision in plan.decide(clock_mhz)]
    return lines + _format_windows([plan.predict_window(clock) for clock in CLOCKS_MHZ])


def _format_windows(windows: Sequence[WindowTime]) -> list[str]:
    """Return a row for each part of a window, a column for each clock."""
    from whisper_npu_cli.engines.npu.plan import MEL_BESIDE_MS

    rows = [
        ("encoder, device", [window.device_ms for window in windows]),
        ("encoder, host", [window.host_ms for window in windows]),
        ("mel, device (once more before, for the peak)", [window.mel_ms for window in windows]),
        ("mel, host", [MEL_BESIDE_MS] * len(windows)),
        ("a window alone", [window.alone_ms for window in windows]),
        ("a window with two in flight", [window.in_flight_ms for window in windows]),
    ]
    heads = "".join(f"{window.clock_mhz:7.0f}" for window in windows)
    lines = [f"{'predicted ms, by clock in MHz':<46}{heads}"]
    return lines + [
        f"  {name:<44}{''.join(f'{value:7.1f}' for value in values)}" for name, values in rows
    ]
