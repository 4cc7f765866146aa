"""Checks of `whisper-npu doctor`: each looks at one thing and says what it found.

A check never raises for what a user's machine lacks; it says so, with what to do.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.check import FAILED, OK, SKIPPED, WARNING, Check
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.hub import cache_folder
from whisper_npu_cli.checkpoints.names import find_dims, open_checkpoint
from whisper_npu_cli.devices import AUTO, DEVICES, OPENVINO, find_device, import_target
from whisper_npu_cli.dims import N_FRAMES, ModelDims
from whisper_npu_cli.engines.base import EncodedWindow, relative_l2
from whisper_npu_cli.engines.loading import load_engines
from whisper_npu_cli.engines.npu.loading import load_npu
from whisper_npu_cli.engines.npu.machine import Machine
from whisper_npu_cli.environment import STANDIN_VARIABLE, collect_versions, read_cpu_features
from whisper_npu_cli.errors import CheckpointError, WhisperNpuError
from whisper_npu_cli.options import EngineOptions

ENGINES = ("reference", "cpu")  # the first is the oracle of the others
X86_FEATURES = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
CPU_FEATURES = (*X86_FEATURES, "asimd", "bf16")

FULL_CLOCK_MHZ = 1500  # the modes default and turbo run at 1600 to 1800, balanced at about 1000
# Relative L2 distance of the encoder's states to the reference engine's. Measured on `demo`:
# f32 about 1e-6, bf16 about 4e-3; a wrong kernel or layout gives about 1.
MAX_STATES_ERROR = 0.02


@dataclass(frozen=True)
class DoctorOptions:
    """What to look at."""

    model: str
    root: Path  # "/": this machine; any other is captured, and only its NPU is judged
    xclbins: Path | None
    selftest: bool  # compute on the NPU
    device: str  # computes besides those found; the NPU computes with `selftest` only


def run_checks(options: DoctorOptions) -> Iterator[Check]:
    """Yield the findings, cheap ones first; the model is looked for in the cache only."""
    if options.root == Path("/"):
        yield from _check_program(options)
    dims, usable = _find_dims(options.model), True
    for row in DEVICES:
        if row.checks:
            machine = Machine(options.root)
            for check in import_target(row.checks)(machine, options.xclbins, dims):
                usable = usable and check.passed
                yield check
    if options.selftest:
        yield from _run_selftest(options, usable=usable)


def _find_dims(model: str) -> ModelDims:
    """Return the dimensions of a model, those of the demo where it is not in the cache."""
    try:
        return find_dims(model)
    except CheckpointError:
        return find_dims("demo")


def _check_program(options: DoctorOptions) -> Iterator[Check]:
    yield Check("versions", OK, ", ".join(f"{name} {v}" for name, v in collect_versions().items()))
    yield _check_cpu()
    yield _check_cache()
    yield _check_model(options.model)
    demo = open_checkpoint("demo", offline=True)
    oracle: EncodedWindow | None = None
    for device in (*ENGINES, *_find_other_engines(options.device)):
        check, encoded = _check_engine(demo, device, oracle)
        oracle = oracle or encoded
        if check.status == FAILED and device not in (*ENGINES, options.device):
            check = replace(check, status=WARNING)  # found here, but nothing depends on it
        yield check


def _find_other_engines(asked: str) -> list[str]:
    """Return OpenVINO's devices here, but for the CPU of ENGINES, and `asked` if it is another."""
    from whisper_npu_cli.engines.openvino_encoder.encoder import find_openvino_devices

    names = [f"{OPENVINO}{name}" for name in find_openvino_devices() if name != "CPU"]
    is_shown = asked in (AUTO, *ENGINES, *names) or find_device(asked).checks
    if not is_shown:
        names.append(asked)
    return names


def _run_selftest(options: DoctorOptions, *, usable: bool) -> Iterator[Check]:
    """Run the known-answer test of every stream and one window of the model on the NPU."""
    if not usable and not os.environ.get(STANDIN_VARIABLE):
        for name in ("npu.selftest", "npu.clock"):
            yield Check(name, SKIPPED, "not before the checks above pass")
        return
    try:
        checkpoint = open_checkpoint(options.model, offline=True)
    except CheckpointError:
        checkpoint = open_checkpoint("demo", offline=True)
    try:
        with closing(
            load_npu(checkpoint, EngineOptions("npu", xclbins=options.xclbins))
        ) as encoder:
            encoder.encode(_make_window(checkpoint.dims.n_mels))
            proof = encoder.encode(_make_window(checkpoint.dims.n_mels)).proof
    except WhisperNpuError as error:
        yield Check("npu.selftest", FAILED, str(error), error.hint)
        return
    assert proof is not None
    origin = "predicted" if proof.predicted else "measured"
    detail = (
        f"{checkpoint.name} on {proof.device}: known-answer tests "
        f"{encoder.known_answer_ms:.1f} ms, a window {proof.device_ms:.1f} ms ({origin})"
    )
    if proof.n_submissions < proof.n_commands:
        yield Check("npu.selftest", OK, detail)
    else:
        cause = "run lists do not work here, and commands go one by one: some ms a window"
        yield Check("npu.selftest", WARNING, detail, "update XRT, driver and firmware", cause)
    yield _check_clock(encoder.clock_mhz)


def _check_clock(clock_mhz: int) -> Check:
    """Judge the array's clock, which is true only while a context is open."""
    if clock_mhz >= FULL_CLOCK_MHZ:
        return Check("npu.clock", OK, f"{clock_mhz} MHz")
    hint = "sudo xrt-smi configure --pmode performance"
    cause = "the power mode keeps the clock low"
    return Check("npu.clock", WARNING, f"{clock_mhz} MHz", hint, cause)


def _check_cpu() -> Check:
    present = read_cpu_features()
    found = ", ".join(feature for feature in CPU_FEATURES if feature in present)
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
        return Check("model", WARNING, str(error), error.hint)
    return Check("model", OK, f"{checkpoint.name}: {checkpoint.path or 'computed'}")


def _check_engine(
    demo: Checkpoint, device: str, oracle: EncodedWindow | None
) -> tuple[Check, EncodedWindow | None]:
    """Encode a made-up window, take one decoder step, and compare states with the first engine."""
    name = f"engine.{device}"
    start = perf_counter()
    try:
        with closing(
            load_engines(demo, EngineOptions(device=device), notice=lambda _: None)
        ) as engines:
            encoded = engines.encoder.encode(_make_window(demo.dims.n_mels))
            decoder = engines.decoder
            decoder.start([decoder.cross_kv(encoded)]).prefill(np.zeros((1, 4), np.int64), (3,))
            seconds = perf_counter() - start
    except WhisperNpuError as error:
        return Check(name, FAILED, str(error), error.hint), None
    detail = f"{engines.encoder.name}, {engines.decoder.name}: computed in {seconds:.2f} s"
    if oracle is None:
        return Check(name, OK, detail), encoded
    error_ratio = relative_l2(encoded.states, oracle.states)
    detail += f", {error_ratio:.1e} from {ENGINES[0]}"
    if error_ratio > MAX_STATES_ERROR:
        return Check(name, FAILED, detail, "report this with the output of doctor --json"), encoded
    return Check(name, OK, detail), encoded


def _make_window(n_mels: int) -> NDArray[np.float32]:
    """Return a deterministic window (n_mels, N_FRAMES) in the range of log-mels, -1 to 1."""
    return np.random.default_rng(0).uniform(-1, 1, (n_mels, N_FRAMES)).astype(np.float32)
