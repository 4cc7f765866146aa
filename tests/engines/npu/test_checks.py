"""Every row of the catalogue of failures is found, named and answered."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import machines
from whisper_npu_cli.check import Check
from whisper_npu_cli.checkpoints.random import random_dims
from whisper_npu_cli.engines.npu.checks import npu_checks
from whisper_npu_cli.engines.npu.machine import Machine
from whisper_npu_cli.engines.npu.manifest import Manifest


def findings(root: Path, change: object = None, xclbins: Path | None = None) -> list[Check]:
    machines.make_healthy(root)
    if callable(change):
        change(root)
    return list(npu_checks(Machine(root), xclbins))


@pytest.mark.parametrize("case", machines.CASES, ids=lambda case: case.name)
def test_first_failure_names_the_cause(tmp_path: Path, case: machines.Case) -> None:
    checks = findings(tmp_path, case.change)
    first = next(check for check in checks if check.status not in ("ok", "skipped"))
    assert (first.id, first.status) == (case.check, case.status)
    assert case.cause in (first.cause or "")
    assert case.hint in (first.hint or "")
    later = [check for check in checks[checks.index(first) + 1 :] if check.id != "npu.overlay"]
    assert tuple(check.id for check in later if check.status == "warning") == case.more
    expected = "ok" if first.passed else "skipped"
    assert all(check.status == expected for check in later if check.id not in case.more)
    assert first.passed or all(case.check in check.detail for check in later)


def test_a_healthy_machine_lacks_the_overlay_alone(tmp_path: Path) -> None:
    checks = findings(tmp_path)
    assert {check.id for check in checks if check.status != "ok"} == {"npu.overlay"}
    overlay = checks[-1]
    assert overlay.status == "absent"
    assert "whisper-npu overlays build" in (overlay.hint or "")


def test_ids_are_the_same_on_every_machine(tmp_path: Path) -> None:
    healthy = [check.id for check in findings(tmp_path / "healthy")]
    absent = [check.id for check in findings(tmp_path / "absent", machines.CASES[0].change)]
    assert healthy == absent
    assert len(set(healthy)) == len(healthy)


def test_a_group_that_may_use_the_node_is_enough(tmp_path: Path) -> None:
    machines.make_healthy(tmp_path)
    group = (tmp_path / machines.NODE).stat().st_gid
    machines.both(machines.mode(0o660), machines.status(999_999, f"5 {group}"))(tmp_path)
    checks = {check.id: check for check in npu_checks(Machine(tmp_path))}
    assert checks["npu.permission"].status == "ok"


def test_what_the_driver_has_proven_is_not_doubted(tmp_path: Path) -> None:
    """The log still has what went wrong before it was repaired."""
    machines.make_healthy(tmp_path)
    old = ("failed to request_firmware amdnpu/1502_00", "firmware is not alive", "error -95")
    machines.xdna_log(*old)(tmp_path)
    machines.cpuinfo("AMD Ryzen 7 7840U", "hypervisor")(tmp_path)
    *checks, overlay = npu_checks(Machine(tmp_path))
    assert {check.status for check in checks} == {"ok"}
    assert overlay.status == "absent"


class Answering(Machine):
    """A made machine whose kernel answers to opening the node."""

    def __init__(self, root: Path, answer: int | None) -> None:
        super().__init__(root)
        self.answer = answer

    @property
    def node_answer(self) -> int | None:  # type: ignore[override]
        return self.answer


@pytest.mark.parametrize(
    ("answer", "check", "cause"),
    [
        (errno.ENODEV, "npu.iommu", "needs the IOMMU"),
        (errno.EOPNOTSUPP, "npu.iommu", "a security fix of January 2026"),
        (errno.ENOSPC, "npu.iommu", "needs the IOMMU"),
        (errno.EINVAL, "npu.iommu", "needs the IOMMU"),
        (errno.ETIMEDOUT, "npu.kernel_log", "stuck in an earlier fault"),
        (errno.EACCES, "npu.permission", "this user may not open it"),
        (errno.EPERM, "npu.permission", "container"),
        (errno.ENOMEM, "npu.permission", "does not open the NPU: Cannot allocate memory"),
    ],
)
def test_the_kernel_answers_what_no_file_tells(
    tmp_path: Path, answer: int, check: str, cause: str
) -> None:
    machines.make_healthy(tmp_path)
    first = next(c for c in npu_checks(Answering(tmp_path, answer)) if c.status != "ok")
    assert (first.id, first.status) == (check, "failed")
    assert cause in (first.cause or "")


@pytest.mark.parametrize(
    "change",
    [
        machines.xdna_log(machines.sva(19)),
        machines.NO_IOMMU,
        machines.cmdline("amd_iommu=off"),
        machines.mode(0o660),  # an access list may let this user in
    ],
)
def test_what_the_kernel_opens_is_not_doubted(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    machines.make_healthy(tmp_path)
    change(tmp_path)
    *checks, _ = npu_checks(Machine(tmp_path))
    assert any(check.status == "failed" for check in checks)
    *checks, _ = npu_checks(Answering(tmp_path, 0))
    assert {check.status for check in checks} == {"ok"}


def test_who_may_lock_memory_has_no_limit(tmp_path: Path) -> None:
    machines.make_healthy(tmp_path)
    machines.put("proc/self/limits", "Max locked memory         65536  65536  bytes\n")(tmp_path)
    assert Machine(tmp_path).memlock_bytes == 65536
    machines.put("proc/self/status", "CapEff:\t000001ffffffffff\n")(tmp_path)
    assert Machine(tmp_path).memlock_bytes is None


@pytest.mark.parametrize(
    ("size", "mebibytes", "status"),
    [
        ("base", 170, "failed"),
        ("base", 171, "ok"),
        ("large-v3", 512, "failed"),  # 1.8 GiB of weights and buffers
        ("large-v3", 1855, "ok"),
    ],
)
def test_memory_that_may_be_locked_is_judged_by_the_model(
    tmp_path: Path, size: str, mebibytes: int, status: str
) -> None:
    machines.make_healthy(tmp_path)
    limit = f"Max locked memory         {mebibytes << 20}  {mebibytes << 20}  bytes\n"
    machines.put("proc/self/limits", limit)(tmp_path)
    checks = npu_checks(Machine(tmp_path), dims=random_dims(size))
    found = next(check for check in checks if check.id == "npu.memlock")
    assert found.status == status


def test_a_model_that_no_overlay_computes(tmp_path: Path) -> None:
    machines.make_healthy(tmp_path)
    dims = replace(random_dims("base"), n_audio_head=4)
    checks = {check.id: check for check in npu_checks(Machine(tmp_path), dims=dims)}
    assert checks["npu.model"].status == "failed"
    assert "512 with 128" in checks["npu.model"].detail
    assert checks["npu.memlock"].status == "skipped"


def spoil_xclbin(folder: Path) -> None:
    (folder / "standin.xclbin").write_bytes(b"other")


def spoil_stream(folder: Path) -> None:
    next(folder.glob("*.insts.bin")).write_bytes(b"stale")


def other_device(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"npu1"', '"npu2"'))


def other_schema(folder: Path) -> None:
    fields = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**fields, "schema_version": 99}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_xclbin, "not the file of the manifest"),
        (spoil_stream, "not the file of the manifest"),
        (other_device, "device npu2, not npu1"),
        (other_schema, "schema 99"),
    ],
)
def test_a_wrong_overlay_is_refused_with_the_reason(
    tmp_path: Path, manifest: Manifest, spoil: object, reason: str
) -> None:
    assert callable(spoil)
    folder = manifest.path.parent
    assert findings(tmp_path / "machine", None, folder)[-1].status == "ok"
    spoil(folder)
    overlay = list(npu_checks(Machine(tmp_path / "machine"), folder))[-1]
    assert overlay.status == "failed"
    assert reason in overlay.detail
