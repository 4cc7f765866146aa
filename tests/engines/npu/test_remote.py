"""The worker process that owns the NPU: what it survives, reports and leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from tests.support.places import ROOT
from tests.support.tiny_model import TINY_DIMS
from whisper_npu_cli.checkpoints import huggingface
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.checkpoints.save import save_checkpoint
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.engines.loading import load_engines
from whisper_npu_cli.engines.npu import remote as remote_module
from whisper_npu_cli.engines.npu.encoder import NpuEncoder
from whisper_npu_cli.engines.npu.plan import plan_encoder
from whisper_npu_cli.engines.npu.remote import RemoteNpuEncoder
from whisper_npu_cli.engines.npu.standin.build import build_overlay
from whisper_npu_cli.engines.npu.standin.open import open_standin
from whisper_npu_cli.engines.npu.trust import LIST_LENGTH
from whisper_npu_cli.environment import FAULTS_VARIABLE, STANDIN_VARIABLE
from whisper_npu_cli.errors import CheckpointError, DeviceError, OverlayError
from whisper_npu_cli.options import EngineOptions

DIMS = replace(TINY_DIMS, n_audio_layer=1, n_text_layer=1)
FIRST = len(plan_encoder(DIMS).specs) + LIST_LENGTH  # known-answer tests come first
MEL = np.random.default_rng(3).uniform(-1, 1, (DIMS.n_mels, N_FRAMES)).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(random_checkpoint(DIMS), folder)
    return replace(huggingface.load(folder), name=str(folder))


def open_remote(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, faults: str = ""
) -> RemoteNpuEncoder:
    monkeypatch.setenv(FAULTS_VARIABLE, faults)
    return RemoteNpuEncoder(checkpoint, "sim")


def children() -> set[str]:
    """Process ids of live children of this process."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {pid for task in tasks for pid in task.read_text().split()}


@pytest.mark.parametrize("device", ["sim", "auto"])
def test_no_worker_is_left_where_the_decoder_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    save_checkpoint(random_checkpoint(replace(DIMS, n_text_head=16)), tmp_path)
    checkpoint = replace(huggingface.load(tmp_path), name=str(tmp_path))
    monkeypatch.setenv(STANDIN_VARIABLE, "1")
    before, notices = children(), list[str]()
    with pytest.raises(CheckpointError, match="heads of 8 channels"):
        load_engines(checkpoint, EngineOptions(device), notices.append)
    assert children() == before
    assert ("using the NPU: its known-answer tests passed" in notices) == (device == "auto")


def test_windows_are_those_of_the_encoder_in_process(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children()
    remote = open_remote(checkpoint, monkeypatch)
    windows = [remote.encode(MEL), remote.encode(-MEL), remote.encode(MEL)]
    with TemporaryDirectory() as folder:
        local = NpuEncoder(checkpoint, *open_standin(Path(folder), plan_encoder(DIMS).specs))
    expected = local.encode(MEL)
    for field in ("states", "cross_keys", "cross_values"):
        assert np.array_equal(getattr(windows[0], field), getattr(expected, field))
        assert np.array_equal(getattr(windows[2], field), getattr(expected, field))
        assert not np.array_equal(getattr(windows[1], field), getattr(expected, field))
    proof = windows[0].proof
    assert proof is not None
    assert proof.predicted
    assert proof.n_commands == len(plan_encoder(DIMS).steps)
    states = windows[0].states
    del windows
    remote.encode(-MEL)  # takes a window that nobody looks at
    assert np.array_equal(states, expected.states)
    remote.close()
    remote.close()
    assert children() == before
    assert np.array_equal(states, expected.states)


def test_mel_power_is_that_of_the_encoder_in_process(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.random.default_rng(8).standard_normal(20_000).astype(np.float32)
    remote = open_remote(checkpoint, monkeypatch, f"die@{FIRST + 1}")  # and is replaced
    first = remote.compute_mel_power(samples)
    second = remote.compute_mel_power(samples[:8_000])
    remote.close()
    monkeypatch.setenv(FAULTS_VARIABLE, "")
    with TemporaryDirectory() as folder:
        local = NpuEncoder(checkpoint, *open_standin(Path(folder), plan_encoder(DIMS).specs))
    assert np.array_equal(first, local.compute_mel_power(samples))
    assert np.array_equal(second, first[:, :48])


@pytest.mark.parametrize("fault", ["", "die"])
def test_windows_in_flight_come_in_order_whatever_dies(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    third = FIRST + 2 * len(plan_encoder(DIMS).steps) + 3
    remote = open_remote(checkpoint, monkeypatch, f"{fault}@{third}" if fault else "")
    mels = [MEL, -MEL, MEL, -MEL, MEL]
    windows = list(remote.encode_each(mels))
    assert np.array_equal(windows[0].cross_keys, windows[4].cross_keys)
    assert np.array_equal(windows[1].cross_keys, windows[3].cross_keys)
    assert not np.array_equal(windows[0].cross_keys, windows[1].cross_keys)
    remote.close()


def test_windows_that_nobody_waits_for_leave_the_worker_usable(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = open_remote(checkpoint, monkeypatch)
    windows = remote.encode_each([-MEL] * 4)
    first = next(windows)
    windows.close()
    assert np.array_equal(remote.encode(-MEL).states, first.states)
    assert not np.array_equal(remote.encode(MEL).states, first.states)
    remote.close()


@pytest.mark.parametrize("fault", ["die", "zeros", pytest.param("freeze", marks=pytest.mark.slow)])
def test_a_worker_that_fails_once_is_replaced(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    last = FIRST + len(plan_encoder(DIMS).steps) - 1
    remote = open_remote(checkpoint, monkeypatch, f"{fault}@{last}")
    window = remote.encode(MEL)
    assert np.isfinite(window.cross_keys).all()
    assert window.cross_keys.any()
    remote.close()


@pytest.mark.parametrize(
    "fault",
    [
        "chain@1+",  # the firmware drops what is behind the first command of a list
        "chain@24+",  # the second submission of a list
        f"error@{FIRST - LIST_LENGTH}",  # the first command of the first list
        f"freeze@{FIRST - LIST_LENGTH}",  # and XRT waits for it without a deadline
    ],
)
def test_where_run_lists_fail_commands_go_one_by_one(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    remote = open_remote(checkpoint, monkeypatch, fault)
    proof = remote.encode(MEL).proof
    remote.close()
    assert proof is not None
    assert proof.n_submissions == proof.n_commands == len(plan_encoder(DIMS).steps)


def test_a_window_has_a_deadline_though_the_worker_beats(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XRT's newest binding lets other threads run while it waits for a run list."""
    monkeypatch.setitem(remote_module.WINDOW_S, "sim", 0.1)
    monkeypatch.setattr(
        remote_module, "_choose_module", lambda _: ("tests.support.stalled_worker", ROOT)
    )
    before = children()
    remote = RemoteNpuEncoder(checkpoint, "sim")
    with pytest.raises(DeviceError, match=r"did not encode a window within 0\.1 s"):
        remote.encode(MEL)
    remote.close()
    assert children() == before


def test_a_worker_that_fails_twice_is_given_up(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = open_remote(checkpoint, monkeypatch, f"hang@{FIRST + 2}+")
    before = children()
    with pytest.raises(DeviceError, match="TIMEOUT"):
        remote.encode(MEL)
    remote.close()
    assert len(children()) < len(before)


def test_a_worker_that_is_not_trusted_never_starts(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children()
    with pytest.raises(OverlayError, match="known-answer test"):
        open_remote(checkpoint, monkeypatch, "garbage@0+")
    assert children() == before


@pytest.mark.skipif(Path("/dev/accel/accel0").exists(), reason="there is an NPU here")
def test_without_a_device_the_reason_is_the_runtimes(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    build_overlay(tmp_path, plan_encoder(DIMS).specs)
    before = children()
    runtimes = "pyxrt is not installed|was built for Python|XRT sees no NPU"
    with pytest.raises(DeviceError, match=runtimes):
        RemoteNpuEncoder(checkpoint, "npu", str(tmp_path))
    assert children() == before


def test_without_an_overlay_the_worker_says_so(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPER_NPU_XCLBINS", "")
    with pytest.raises(DeviceError, match="not built"):
        RemoteNpuEncoder(checkpoint, "npu")


PARENT = """
import sys
from pathlib import Path
from tests.engines.npu.test_remote import MEL, children
from whisper_npu_cli.engines.npu.remote import RemoteNpuEncoder
from whisper_npu_cli.checkpoints import huggingface
checkpoint = huggingface.load(Path(sys.argv[1]), sys.argv[1])
remote = RemoteNpuEncoder(checkpoint, "sim")
print(*children(), flush=True)
remote.encode(MEL)
"""


@pytest.mark.parametrize(
    "faults", ["", pytest.param(f"freeze@{FIRST + 2}", marks=pytest.mark.slow)]
)
def test_nothing_outlives_a_killed_parent(checkpoint: Checkpoint, faults: str) -> None:
    root = ROOT
    command = [sys.executable, "-c", PARENT, checkpoint.name]
    environment = {**os.environ, FAULTS_VARIABLE: faults, "PYTHONPATH": f"{root}:{root / 'tests'}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        (worker,) = map(int, parent.stdout.readline().split())
        time.sleep(0.5)  # the device is at work, or frozen
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20  # the alarm of a frozen worker rings after 10 s
    while is_alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
