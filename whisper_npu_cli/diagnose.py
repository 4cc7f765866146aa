"""Checks of `whisper-npu doctor`: each looks at one thing and says what it found.

A check never raises for what a user's machine lacks; it says so, with what to do.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints import cache_folder, find_cached
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.engine import EngineOptions, Engines, load_engines
from whisper_npu_cli.errors import WhisperNpuError
from whisper_npu_cli.report import versions
from whisper_npu_cli.weights import Checkpoint, load_checkpoint

OK, WARNING, FAILED = "ok", "warning", "failed"

# Relative L2 distance of the encoder's states to the reference engine's. Measured on `demo`:
# f32 about 1e-6, bf16 about 4e-3; a wrong kernel or layout gives about 1.
MAX_STATES_ERROR = 0.02


@dataclass(frozen=True)
class Check:
    """One finding; `id` is stable, `detail` is for people."""

    id: str
    status: str
    detail: str
    hint: str | None = None


def run_checks(model: str) -> Iterator[Check]:
    """Yield the findings, cheap ones first; `model` is looked for in the cache."""
    yield Check("versions", OK, ", ".join(f"{name} {v}" for name, v in versions().items()))
    yield _check_cpu()
    yield _check_cache()
    yield _check_model(model)
    demo = load_checkpoint("demo", offline=True)
    mel = _test_window(demo)
    oracle = _compute(demo, mel, "reference")
    yield Check("engine.reference", OK, oracle.detail)
    yield _check_engine(demo, mel, "cpu", oracle)


def _check_cpu() -> Check:
    features = {"avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16"}
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text(encoding="utf-8").split()) if cpuinfo.exists() else set()
    found = ", ".join(sorted(features & flags)) or "no vector features that matter"
    return Check("cpu", OK, f"{platform.machine()}: {found}")
