"""What is read of a machine, and what only its kernel can say."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.support import machines
from whisper_npu_cli.engines.npu import machine as module
from whisper_npu_cli.engines.npu.machine import Machine, read_version


@pytest.mark.parametrize(
    ("node", "answer"),
    [("dev/null", 0), ("tmp", errno.EISDIR), ("dev/accel/no-such-node", None)],
)
def test_the_kernel_is_asked_to_open_the_node(
    monkeypatch: pytest.MonkeyPatch, node: str, answer: int | None
) -> None:
    monkeypatch.setattr(module, "ACCEL", node)
    assert Machine().node_answer == answer


def test_an_opening_that_hangs_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACCEL", "dev/null")
    monkeypatch.setattr(module, "OPEN", "import time; time.sleep(60)")
    monkeypatch.setattr(module, "OPEN_S", 0.05)
    assert Machine().node_answer == errno.ETIMEDOUT


def test_nobody_opens_the_node_of_a_captured_machine(tmp_path: Path) -> None:
    machines.make_healthy(tmp_path)
    assert Machine(tmp_path).node is not None
    assert Machine(tmp_path).node_answer is None


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("libxrt.so.2.13.0", (2, 13, 0)),
        ("libxrt.so.2", (2,)),
        ("1.5.5.391", (1, 5, 5, 391)),
        ("x", ()),
    ],
)
def test_versions_are_numbers(name: str, version: tuple[int, ...]) -> None:
    assert read_version(name) == version


def test_the_newest_of_two_libraries_counts(tmp_path: Path) -> None:
    for version in ("2", "2.9.0", "2.25.00"):
        machines.put(f"{machines.LIBRARIES}/libxrt_coreutil.so.{version}")(tmp_path)
    assert (Machine(tmp_path).find_library("libxrt_coreutil") or "").endswith("so.2.25.00")


@pytest.mark.parametrize(
    ("line", "is_raised"),
    [
        ("* - memlock unlimited", True),
        ("@render hard memlock infinity", True),
        ("# * - memlock unlimited", False),
        ("* - memlock 65536", False),
    ],
)
def test_limits_that_logins_get(tmp_path: Path, line: str, is_raised: bool) -> None:
    machines.put("etc/security/limits.d/npu.conf", line + "\n")(tmp_path)
    assert (Machine(tmp_path).raised_memlock_in is not None) == is_raised
