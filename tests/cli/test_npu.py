"""`--device sim`, `npu` and `auto` from the command line, with the faults that an NPU can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_transcribe import SAMPLES, digits_of
from whisper_npu_cli.checkpoints import open_checkpoint
from whisper_npu_cli.encoder.npu_plan import plan_encoder
from whisper_npu_cli.engine import STANDIN_VARIABLE
from whisper_npu_cli.npu.standin.faults import VARIABLE

NUMBERS = sorted(SAMPLES.glob("*.wav"))[:2]
ARGUMENTS = ("transcribe", *NUMBERS, "--model", "demo", "--json")


def second_window() -> int:
    """A command in the middle of the second window: known answers and a window come before."""
    plan = plan_encoder(open_checkpoint("demo", offline=True).dims)
    return len(plan.specs) + len(plan.steps) + 5


def leftovers() -> set[str]:
    """What a crashed worker could leave: children, shared memory, folders."""
    tasks = Path("/proc/self/task").glob("*/children")
    children = {pid for task in tasks for pid in task.read_text().split()}
    shared = {str(path) for path in Path("/dev/shm").iterdir() if "whisper" in path.name}
    return children | shared


def test_sim_gives_the_digits_and_a_proof_for_each_window(cli: Cli) -> None:
    before = leftovers()
    result = cli(*ARGUMENTS, "--device", "sim")
    assert result.status == 0
    texts = {Path(row["path"]).name: row["text"].strip() for row in result.document["results"]}
    assert texts == {path.name: digits_of(path) for path in NUMBERS}
    for row in result.document["results"]:
        for window in row["windows"]:
            proof = window["proof"]
            assert proof["device"] == "RyzenAI-npu1"
            assert proof["predicted"]
            assert proof["device_ms"] > 0
            assert len(proof["overlay_sha256"]) == 64
            assert proof["n_commands"] > proof["n_submissions"] > 0
    assert "predicted, not measured" in result.stderr
    assert leftovers() == before


STARTS = {"no-device", "no-context", "bank"}  # strike while the worker starts
QUICK = ("no-device", "die", "hang")
SLOW = ("no-context", "bank", "error", "freeze")


@pytest.mark.parametrize(
    "kind", [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)]
)
def test_auto_loses_nothing_whatever_fails(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv(STANDIN_VARIABLE, "1")
    at = 0 if kind in STARTS else second_window()
    monkeypatch.setenv(VARIABLE, f"{kind}@{at}+")
    before = leftovers()
    result = cli(*ARGUMENTS, "--device", "auto")
    assert result.status == 0
    assert leftovers() == before
    document = result.document
    texts = [row["text"].strip() for row in document["results"]]
    assert texts == [digits_of(path) for path in NUMBERS]
    first, second = (row["windows"][0]["proof"] for row in document["results"])
    assert second is None
    if kind in STARTS:
        assert first is None
        assert document["device"]["name"] == "cpu"
        assert f"using the CPU: {document['device']['reason']}" in result.stderr
    else:
        assert first["n_commands"] > 0
        (incident,) = document["device"]["incidents"]
        assert f"the NPU failed, the CPU goes on: {incident}" in result.stderr


@pytest.mark.parametrize("kind", ["no-device", "error"])
def test_npu_fails_with_the_reason(cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv(STANDIN_VARIABLE, "1")
    monkeypatch.setenv(VARIABLE, f"{kind}@{second_window()}+")
    result = cli("transcribe", *NUMBERS, "--model", "demo", "--device", "npu")
    assert result.status == 3
    reason = {"no-device": "XRT sees no NPU", "error": "runlist failed"}[kind]
    assert f"error: {reason}" in result.stderr.replace("the NPU stopped: ", "")
    assert bool(result.stdout) == (kind == "error")  # what was finished stays


@pytest.mark.skipif(Path("/dev/accel/accel0").exists(), reason="there is an NPU here")
def test_npu_without_one_says_why(cli: Cli) -> None:
    result = cli("transcribe", *NUMBERS, "--model", "demo", "--device", "npu")
    assert result.status == 3
    assert not result.stdout
    assert "no AMD NPU" in result.stderr
