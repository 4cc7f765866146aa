"""`--device sim`, `npu` and `auto` from the command line, with the faults that an NPU can have."""

from __future__ import annotations

import gc
import tempfile
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.digits import digits_of
from tests.support.places import SAMPLES
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.engines.npu.plan import plan_encoder
from whisper_npu_cli.engines.npu.standin.faults import KINDS
from whisper_npu_cli.engines.npu.trust import LIST_LENGTH
from whisper_npu_cli.engines.numba_decoder.threads import CREW
from whisper_npu_cli.environment import FAULTS_VARIABLE, STANDIN_VARIABLE

NUMBERS = sorted(SAMPLES.glob("*.wav"))[:2]
ARGUMENTS = ("transcribe", *NUMBERS, "--model", "demo", "--json")


def find_second_window() -> int:
    """Return a command in the second window; known answers, a window and the mel of two come first.

    The mel of a recording is computed twice.
    """
    plan = plan_encoder(open_checkpoint("demo", offline=True).dims)
    return len(plan.specs) + LIST_LENGTH + 4 * len(plan.mel) + len(plan.steps) + 5


def find_leftovers() -> set[str]:
    """Return what a run could leave: children, threads, shared memory, temporary files.

    The child that reads recordings is kept for those that follow, and so is the crew of threads
    for the next decoder.
    """
    gc.collect()
    tasks = Path("/proc/self/task").glob("*/children")
    children = {pid for task in tasks for pid in task.read_text().split()}
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    found = {f"child {pid}" for pid in children if b"audio.child" not in commands[pid]}
    found |= {f"thread {one.name}" for one in threading.enumerate() if one.name != CREW}
    files = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    found |= {name for name in files if "whisper-npu" in name}
    return found | {str(path) for path in Path(tempfile.gettempdir()).iterdir()}


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for temporary files that no other process uses."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_sim_gives_the_digits_and_a_proof_for_each_window(cli: Cli) -> None:
    before = find_leftovers()
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
    assert find_leftovers() == before


@pytest.mark.parametrize(("mel", "engine"), [("npu", "simulated npu"), ("cpu", "")])
def test_the_timings_say_what_computed_the_mel(cli: Cli, mel: str, engine: str) -> None:
    result = cli(*ARGUMENTS[:2], *ARGUMENTS[-3:], "--device", "sim", "--mel", mel)
    (row,) = result.document["results"]
    (timed,) = (stage["engine"] for stage in row["timings"] if stage["stage"] == "mel")
    assert timed == engine
    assert row["text"].strip() == digits_of(NUMBERS[0])


def test_auto_goes_on_where_the_mel_fails(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device dies in the mel of the second recording."""
    monkeypatch.setenv(STANDIN_VARIABLE, "1")
    plan = plan_encoder(open_checkpoint("demo", offline=True).dims)
    command = len(plan.specs) + LIST_LENGTH + 2 * len(plan.mel) + len(plan.steps)
    monkeypatch.setenv(FAULTS_VARIABLE, f"die@{command}+")
    result = cli(*ARGUMENTS, "--device", "auto")
    assert result.status == 0
    rows = result.document["results"]
    assert [row["text"].strip() for row in rows] == [digits_of(path) for path in NUMBERS]
    stages = ({stage["stage"]: stage["engine"] for stage in row["timings"]} for row in rows)
    first, second = ((engines["mel"], engines["encode"]) for engines in stages)
    assert first == ("simulated npu", "simulated RyzenAI-npu1 bf16")
    assert second[0] == ""
    assert second[1].startswith("openvino")


# Every fault but the harmless one, and words of the error of `--device npu`.
REASONS = {
    "no-device": "XRT sees no NPU",
    "no-context": "err=-22",
    "bank": "another memory bank",
    "error": "ended a command with ERT_CMD_STATE_ERROR",
    "hang": "ended a command with ERT_CMD_STATE_TIMEOUT",
    "freeze": "did not answer within",  # in the second worker, which submits no run lists
    "die": "worker process died",
    "zeros": "failed its known-answer test",
    "skip": "left part of its output unwritten",
    "garbage": "failed its known-answer test",
    "nan": "left part of its output unwritten",
}
STARTS = {"no-device", "no-context", "bank"}  # faults that strike while the worker starts


def mark_faults(*quick: str) -> list[object]:
    """Return all faults, of which all but `quick` are slow."""
    slow = pytest.mark.slow
    return [pytest.param(kind, marks=() if kind in quick else slow) for kind in REASONS]


def plan_fault(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Let the stand-in be the NPU, and `kind` strike from the second window on, or at once."""
    monkeypatch.setenv(STANDIN_VARIABLE, "1")
    monkeypatch.setenv(FAULTS_VARIABLE, f"{kind}@{0 if kind in STARTS else find_second_window()}+")


def test_every_fault_is_tried() -> None:
    assert {*REASONS, "chain", "suspend"} == set(KINDS)


@pytest.mark.parametrize("kind", mark_faults("no-device", "die"))
def test_auto_loses_nothing_whatever_fails(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    plan_fault(monkeypatch, kind)
    before = find_leftovers()
    result = cli(*ARGUMENTS, "--device", "auto", "--verbose")
    assert result.status == 0
    assert find_leftovers() == before
    document = result.document
    texts = [row["text"].strip() for row in document["results"]]
    assert texts == [digits_of(path) for path in NUMBERS]
    first, second = (row["windows"][0]["proof"] for row in document["results"])
    assert second is None
    for row in document["results"]:  # the window that failed over is timed as the CPU's
        (timed,) = (stage["engine"] for stage in row["timings"] if stage["stage"] == "encode")
        assert timed == row["windows"][0]["engine"]
    if kind in STARTS:
        assert first is None
        assert document["device"]["name"] == "cpu"
        assert REASONS[kind] in document["device"]["reason"]
        assert f"using the CPU: {document['device']['reason']}" in result.stderr
    else:
        assert first["n_commands"] > 0
        (incident,) = document["device"]["incidents"]
        assert REASONS[kind] in incident
        assert f"the NPU failed, the CPU goes on: {incident}" in result.stderr


@pytest.mark.parametrize("kind", mark_faults("no-device", "error"))
def test_npu_fails_with_the_reason(cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    plan_fault(monkeypatch, kind)
    before = find_leftovers()
    result = cli(*ARGUMENTS, "--device", "npu")
    assert result.status == 3
    assert find_leftovers() == before
    (error,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert REASONS[kind] in error
    if kind in STARTS:
        assert not result.stdout
    else:
        finished, failed = result.document["results"]
        assert finished["text"].strip() == digits_of(NUMBERS[0])
        assert REASONS[kind] in failed["error"]


def test_a_failed_selftest_leaves_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_fault(monkeypatch, "error")
    before = find_leftovers()
    result = cli("doctor", "--root", tmp_path, "--selftest", "--model", "demo", "--json")
    assert REASONS["error"] in result.document["checks"][-1]["detail"]
    assert find_leftovers() == before


def test_where_run_lists_fail_it_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAULTS_VARIABLE, "chain@1")
    result = cli("transcribe", NUMBERS[0], "--model", "demo", "--device", "sim")
    assert result.status == 0
    assert "commands one by one, for run lists do not work here" in result.stderr


@pytest.mark.slow
def test_sim_fails_as_the_npu_does(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAULTS_VARIABLE, f"error@{find_second_window()}+")
    result = cli("transcribe", *NUMBERS, "--model", "demo", "--device", "sim")
    assert result.status == 3
    assert REASONS["error"] in result.stderr
    assert result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["suspend@0+", "error@{}", "die@{}"])
def test_what_passes_is_overcome(cli: Cli, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """A suspended device is only slow; a fault that strikes once costs a second worker."""
    monkeypatch.setenv(STANDIN_VARIABLE, "1")
    monkeypatch.setenv(FAULTS_VARIABLE, fault.format(find_second_window()))
    before = find_leftovers()
    result = cli(*ARGUMENTS, "--device", "npu")
    assert result.status == 0
    assert find_leftovers() == before
    rows = result.document["results"]
    assert [row["text"].strip() for row in rows] == [digits_of(path) for path in NUMBERS]
    assert all(window["proof"] for row in rows for window in row["windows"])


@pytest.mark.skipif(Path("/dev/accel/accel0").exists(), reason="there is an NPU here")
def test_npu_without_one_says_why(cli: Cli) -> None:
    result = cli("transcribe", *NUMBERS, "--model", "demo", "--device", "npu")
    assert result.status == 3
    assert not result.stdout
    assert "no AMD NPU" in result.stderr or "virtual machine" in result.stderr


def test_exact_is_for_the_simulated_chip_alone(cli: Cli) -> None:
    result = cli(*ARGUMENTS, "--device", "cpu", "--exact")
    assert result.status == 2
    assert "--exact has no effect with --device cpu" in result.stderr
    assert not result.stdout
