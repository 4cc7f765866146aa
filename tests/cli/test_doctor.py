"""`whisper-npu doctor` on machines made of files, and on the stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support import machines
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
    rows = result.stdout.splitlines()
    first = next(i for i, row in enumerate(rows) if not row.startswith(("ok", " ")))
    assert rows[first].split()[:2] == [case.status, case.check]
    assert case.cause in rows[first + 1]
    assert case.hint in " ".join(rows[first + 1 : first + 3])


@pytest.mark.parametrize(
    ("device", "status"), [("openvino:CPU", 0), ("openvino:TPU", 3), ("cpu", 0), ("sim", 0)]
)
def test_doctor_computes_on_the_asked_device(cli: Cli, device: str, status: int) -> None:
    result = cli("doctor", "--model", "demo", "--device", device, "--json")
    assert result.status == status
    (check,) = (row for row in result.document["checks"] if row["id"] == f"engine.{device}")
    assert check["status"] == ("failed" if status else "ok")


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
