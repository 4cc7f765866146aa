"""Checks of `whisper-npu doctor`: each looks at one thing and says what it found.

A check never raises for what a user's machine lacks; it says so, with what to do.
"""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints import cache_folder, open_checkpoint
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.encoder.base import EncodedWindow
from whisper_npu_cli.engine import Device, EngineOptions, load_engines
from whisper_npu_cli.errors import CheckpointError, WhisperNpuError
from whisper_npu_cli.report import versions
from whisper_npu_cli.weights import Checkpoint

ENGINES: tuple[Device, ...] = ("reference", "cpu")  # the first is the oracle of the others
CPU_FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")
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
    demo = open_checkpoint("demo", offline=True)
    oracle: EncodedWindow | None = None
    for device in ENGINES:
        check, encoded = _compute(demo, device, oracle)
        oracle = oracle or encoded
        yield check


def _check_cpu() -> Check:
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text(encoding="utf-8").split()) if cpuinfo.exists() else set()
    found = ", ".join(feature for feature in CPU_FEATURES if feature in flags)
    return Check("cpu", OK, f"{platform.machine()}: {found or 'no vector features that matter'}")


def _check_cache() -> Check:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(
            "cache",
            FAILED,
            f"{folder}: cannot be written: {error.strerror}",
            "set HF_HOME to a folder that you can write to",
        )
    free_gb = shutil.disk_usage(folder).free / 1e9
    return Check("cache", OK, f"{folder}, {free_gb:.1f} GB free")


def _check_model(model: str) -> Check:
    try:
        checkpoint = open_checkpoint(model, offline=True)
    except CheckpointError as error:
        return Check("model", WARNING, str(error), f"whisper-npu models pull {model}")
    return Check("model", OK, f"{checkpoint.name}: {checkpoint.path or 'computed'}")


def _compute(
    demo: Checkpoint, device: Device, oracle: EncodedWindow | None
) -> tuple[Check, EncodedWindow | None]:
    """Encode a made-up window and take one decoder step, and compare with the first engine."""
    name = f"engine.{device}"
    start = perf_counter()
    try:
        engines = load_engines(demo, EngineOptions(device=device), notice=lambda _: None)
        encoded = engines.encoder.encode(_test_window(demo.dims.n_mels))
        engines.decoder.start([encoded]).prefill(np.zeros((1, 4), np.int64), (3,))
    except WhisperNpuError as error:
        return Check(name, FAILED, str(error), error.hint), None
    seconds = perf_counter() - start
    detail = f"{engines.encoder.name}, {engines.decoder.name}: computed in {seconds:.2f} s"
    if oracle is None:
        return Check(name, OK, detail), encoded
    error_ratio = float(
        np.linalg.norm(encoded.states - oracle.states) / np.linalg.norm(oracle.states)
    )
    detail += f", {error_ratio:.1e} from {ENGINES[0]}"
    if error_ratio > MAX_STATES_ERROR:
        return Check(name, FAILED, detail, "report this with the output of doctor --json"), encoded
    return Check(name, OK, detail), encoded


def _test_window(n_mels: int) -> NDArray[np.float32]:
    """A deterministic window in the range of log-mels, -1 to 1."""
    return np.random.default_rng(0).uniform(-1, 1, (n_mels, N_FRAMES)).astype(np.float32)
