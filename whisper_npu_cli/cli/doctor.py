"""`whisper-npu doctor`: what works on this machine, proven by computing."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def doctor(
    model: Annotated[
        str, typer.Option("--model", "-m", help="Model to look for in the cache.")
    ] = "base",
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check this machine: versions, CPU, cache, model, and a computation on each engine.

    Exit status 0 where transcription works, 1 where it does not.

    Example: whisper-npu doctor --model small
    """
    from dataclasses import asdict

    from whisper_npu_cli.diagnose import FAILED, run_checks

    checks = []
    for check in run_checks(model):
        checks.append(check)
        if not as_json:
            print(f"{check.status:8} {check.id:18} {check.detail}", flush=True)
            if check.hint:
                print(f"{'':8} {'':18} hint: {check.hint}", flush=True)
    if as_json:
        print(json.dumps({"schema_version": 1, "checks": [asdict(check) for check in checks]}))
    if any(check.status == FAILED for check in checks):
        raise typer.Exit(1)
