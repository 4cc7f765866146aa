"""`whisper-npu doctor` on machines made of files, and on the stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support import machines
from tests.support.terminal import run_on_terminal
from whisper_npu_cli.environment import FAULTS_VARIABLE


@pytest.mark.parametrize(
    ("device", "status"), [("auto", 0), ("npu", 3)], ids=["auto picks the CPU", "npu fails"]
)
def test_doctor_judges_a_captured_machine(
    cli: Cli, tmp_path: Path, device: str, status: int
) -> None:
    machines.make_healthy(tmp_path)
    machines.mode(0o660)(tmp_path)
    result = cli("doctor", "--root", tmp_path, "--device", device, "--json")
    assert result.status == status
    failed = [row for row in result.document["checks"] if row["status"] == "failed"]
    assert [row["id"] for row in failed] == ["npu.permission"]
    text = cli("doctor", "--root", tmp_path).stdout
    assert "hint: sudo usermod -aG render" in text
    assert "no AMD NPU" not in text


@pytest.mark.parametrize("case", machines.CASES, ids=lambda case: case.name)
def test_doctor_names_the_cause_of_every_machine(
    cli: Cli, tmp_path: Path, case: machines.Case
) -> None:
    machines.make_healthy(tmp_path)
    case.change(tmp_path)
    result = cli("doctor", "--root", tmp_path, "--device", "npu")
    assert result.status == 3
    verdict, *rows = result.stdout.splitlines()
    assert verdict.startswith("the NPU cannot be used: ")
    assert case.cause in verdict or case.status == "warning"
    assert rows[0].split()[:2] == [case.status, case.check]
    assert case.cause in rows[1]
    assert case.hint in " ".join(rows[1:3])
    has_npu = case.check not in ("npu.pci", "npu.generation")
    assert ("overlays build" in result.stdout) == has_npu
    verbose = cli("doctor", "--root", tmp_path, "--device", "npu", "--verbose").stdout
    first = next(row for row in verbose.splitlines()[1:] if not row.startswith(("ok", " ")))
    assert first.split()[:2] == [case.status, case.check]


@pytest.mark.parametrize(
    ("device", "status"), [("openvino:CPU", 0), ("openvino:TPU", 3), ("cpu", 0), ("sim", 0)]
)
def test_doctor_computes_on_the_asked_device(cli: Cli, device: str, status: int) -> None:
    result = cli("doctor", "--model", "demo", "--device", device, "--json")
    assert result.status == status
    (check,) = (row for row in result.document["checks"] if row["id"] == f"engine.{device}")
    assert check["status"] == ("failed" if status else "ok")


def test_the_verdict_and_what_matters_fit_a_terminal() -> None:
    status, lines = run_on_terminal(80, "doctor", "--model", "demo")
    assert status == 0
    report = lines[max(i for i, line in enumerate(lines) if "checking" in line) + 1 : -1]
    assert report[0].startswith("transcription works here, on the CPU")
    assert len(report) < 24  # one line is the next prompt
    assert max(map(len, report)) <= 80
    assert "skipped" not in "".join(report)
    names = [line.split()[1] for line in report if line.startswith("ok")]
    assert {"versions", "cpu", "cache", "model", "engine.cpu"} <= set(names)


def test_the_verdict_of_a_machine_with_an_npu(cli: Cli, tmp_path: Path) -> None:
    machines.make_healthy(tmp_path)
    result = cli("doctor", "--root", tmp_path)
    assert result.stdout.splitlines()[0].endswith("the NPU overlay is not built")
    assert "overlays build" in result.stdout
    assert len(result.stdout.splitlines()) == 4  # verdict, overlay, its hint, what passed
    document = cli("doctor", "--root", tmp_path, "--json").document
    assert document["verdict"] == result.stdout.splitlines()[0]


def test_doctor_knows_no_other_device(cli: Cli) -> None:
    result = cli("doctor", "--device", "abacus")
    assert (result.status, result.stdout) == (2, "")
    assert "abacus" in result.stderr


def test_selftest_computes_on_the_npu(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.make_healthy(tmp_path)
    monkeypatch.setenv("WHISPER_NPU_STANDIN", "1")
    result = cli("doctor", "--root", tmp_path, "--selftest", "--model", "demo")
    assert "npu.selftest" in result.stdout
    assert "known-answer tests" in result.stdout
    assert "predicted" in result.stdout
    monkeypatch.setenv(FAULTS_VARIABLE, "zeros@3+")
    result = cli("doctor", "--root", tmp_path, "--selftest", "--model", "demo", "--json")
    selftest = result.document["checks"][-1]  # no clock behind it: the device is not trusted
    assert selftest["status"] == "failed"
    assert "known-answer" in selftest["detail"]
