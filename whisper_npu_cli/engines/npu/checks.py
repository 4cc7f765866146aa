"""Why the NPU cannot be used: one check for each cause, ordered so that one may hide the next.

Pure judgement over `machine.py`. A check says what it saw, why that is so and what to do; it
never raises. After the first failure the checks that depend on it are skipped, so the first
failure is the cause. Once the driver has accepted the device, what it needed before is not doubted:
a container lacks the firmware's files, and the kernel's log still has what was repaired.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from whisper_npu_cli.check import ABSENT, FAILED, OK, SKIPPED, WARNING, Check, fail
from whisper_npu_cli.checkpoints.random import random_dims
from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.engines.npu.firmware import (
    check_firmware,
    check_firmware_version,
    check_kernel_log,
)
from whisper_npu_cli.engines.npu.iommu import check_iommu
from whisper_npu_cli.engines.npu.machine import ACCEL, XDNA1, Machine
from whisper_npu_cli.engines.npu.packages import check_pyxrt, check_xrt, check_xrt_plugin
from whisper_npu_cli.errors import OverlayError

XDNA2_NAMES = {  # revision of device 0x17f0 (xdna-driver amdxdna_pci_drv.c)
    0x10: "Strix",
    0x11: "Strix Halo",
    0x20: "Krackan",
}
WITH_XDNA1 = re.compile(r"Ryzen [3579] (PRO )?(7[6-9]40|8[6-9]4[05]|8[67]00G|2[3-7]0\b)")
IN_KERNEL = (6, 14)  # the release that took the driver in
N_CONTEXTS = 6
CONTAINER = f"docker run --device /{ACCEL} --ulimit memlock=-1 --group-add render"
WHISPER_BASE = random_dims("base")
Judge = Callable[[Machine], Check]


def npu_checks(
    machine: Machine, xclbins: Path | None = None, dims: ModelDims = WHISPER_BASE
) -> Iterator[Check]:
    """Yield a finding for every known cause; those that an earlier one hides are skipped.

    `dims` are those of the model that is to run.
    """
    judges: list[tuple[str, Judge]] = [
        ("npu.pci", _check_pci),
        ("npu.generation", _check_generation),
        ("npu.hypervisor", _check_hypervisor),
        ("npu.kernel", _check_kernel),
        ("npu.module", _check_module),
        ("npu.firmware", check_firmware),
        ("npu.iommu", check_iommu),
        ("npu.firmware_version", check_firmware_version),
        ("npu.kernel_log", check_kernel_log),
        ("npu.node", _check_node),
        ("npu.xrt", check_xrt),
        ("npu.xrt_plugin", check_xrt_plugin),
        ("npu.pyxrt", check_pyxrt),
        ("npu.permission", _check_permission),
        ("npu.model", lambda _: _check_model(dims)),
        ("npu.memlock", lambda found: _check_memlock(found, dims)),
        ("npu.contexts", _check_contexts),
        ("npu.overlay", lambda _: _check_overlay(xclbins)),
    ]
    blocked = ""
    for name, judge in judges:
        if blocked and name != "npu.overlay":
            yield Check(name, SKIPPED, f"not before {blocked} is right")
            continue
        check = judge(machine)
        yield check
        if not check.passed:
            blocked = blocked or name


def _check_pci(machine: Machine) -> Check:
    device = machine.npu
    if device:
        detail = f"{device.address} {device.vendor}:{device.device} rev {device.revision:02x}"
        return Check("npu.pci", OK, detail)
    seen = f"no PCI device 1022:1502 among {len(list(machine.pci_devices))}; {machine.cpu_model}"
    if WITH_XDNA1.search(machine.cpu_model) and not machine.is_virtual:
        return fail(
            "npu.pci",
            seen,
            "this processor has an NPU and the BIOS keeps it off",
            "enable the IPU or NPU in the BIOS (Advanced, CPU configuration)",
        )
    if machine.is_virtual:
        cause = "this is a virtual machine, and the driver refuses to run in one"
        return Check("npu.pci", ABSENT, seen, "run on the machine itself", cause)
    return Check("npu.pci", ABSENT, seen, None, "this machine has no AMD NPU")


def _check_generation(machine: Machine) -> Check:
    device = machine.npu
    assert device is not None
    if device.device == XDNA1:
        return Check("npu.generation", OK, "XDNA1 (Phoenix or Hawk Point)")
    name = XDNA2_NAMES.get(device.revision, "of an unknown revision")
    return fail(
        "npu.generation",
        f"1022:17f0 rev {device.revision:02x}",
        f"this is an XDNA2 NPU ({name}), and overlays are made for XDNA1",
        "use --device cpu here",
    )


def _check_hypervisor(machine: Machine) -> Check:
    if machine.is_bound or not machine.is_virtual:
        return Check("npu.hypervisor", OK, "none that the driver minds")
    return fail(
        "npu.hypervisor",
        "/proc/cpuinfo has the flag hypervisor",
        "the driver refuses to run in a virtual machine",
        "run on the machine itself",
    )


def _check_kernel(machine: Machine) -> Check:
    release = machine.kernel_release or "unknown"
    if machine.kernel >= IN_KERNEL or machine.module_file or machine.module_is_loaded:
        return Check("npu.kernel", OK, release)
    return fail(
        "npu.kernel",
        f"Linux {release}, and no amdxdna module for it",
        f"the driver came with Linux {IN_KERNEL[0]}.{IN_KERNEL[1]}",
        "boot a newer kernel, or install the driver as a DKMS package (amdxdna-dkms)",
    )


def _check_module(machine: Machine) -> Check:
    npu = machine.npu
    if machine.module_is_loaded:
        bound = f"bound to {npu.driver}" if npu and npu.driver else "not bound to the device"
        return Check("npu.module", OK, f"amdxdna is loaded, {bound}")
    blacklist = machine.blacklisted_in
    if blacklist:
        cause, hint = f"/{blacklist} forbids it", f"remove that line from /{blacklist}"
    elif machine.module_file is None:
        cause = "this kernel was built without CONFIG_DRM_ACCEL_AMDXDNA"
        hint = "install the kernel's extra modules (linux-modules-extra) or amdxdna-dkms"
    elif machine.secure_boot:
        cause = "Secure Boot is on and the module may not be signed"
        hint = "sign the module (mokutil), or turn Secure Boot off; then: sudo modprobe amdxdna"
    else:
        cause, hint = "nothing has loaded it", "sudo modprobe amdxdna"
    return fail("npu.module", "amdxdna is not loaded", cause, hint)


def _check_node(machine: Machine) -> Check:
    node = machine.node
    if node:
        return Check("npu.node", OK, f"/{ACCEL} {node[0]}")
    if machine.is_container:
        return fail(
            "npu.node",
            f"/{ACCEL} does not exist in this container",
            "the container was not given the device",
            CONTAINER,
        )
    return fail(
        "npu.node",
        f"/{ACCEL} does not exist, though amdxdna is loaded",
        "the driver did not accept the device",
        "look for amdxdna in the kernel's log: sudo dmesg | grep -i amdxdna",
    )


def _check_permission(machine: Machine) -> Check:
    """Judge by the kernel's answer where there is one, for it knows access lists and containers."""
    node, answer = machine.node, machine.node_answer
    assert node is not None
    detail = f"/{ACCEL} is {node[0]}"
    if answer == errno.EPERM or (answer == errno.EACCES and machine.is_container):
        return fail("npu.permission", detail, "this container may not use the device", CONTAINER)
    if answer == errno.EACCES or (answer is None and not node[1]):
        cause = "the NPU is there and this user may not open it"
        hint = "sudo usermod -aG render $USER, then log in again"
        return fail("npu.permission", detail, cause, hint)
    if answer:
        cause = f"the kernel does not open the NPU: {os.strerror(answer)}"
        hint = "look for amdxdna in the kernel's log: sudo dmesg | grep -i amdxdna"
        return fail("npu.permission", detail, cause, hint)
    return Check("npu.permission", OK, "this user may use the NPU")


def _check_model(dims: ModelDims) -> Check:
    from whisper_npu_cli.engines.npu.plan import plan_encoder

    try:
        plan = plan_encoder(dims)
    except OverlayError as error:
        return fail("npu.model", str(error), "no overlay computes this model", "use --device cpu")
    detail = f"{len(plan.steps)} commands a window, {plan.locked_bytes >> 20} MiB of memory"
    return Check("npu.model", OK, detail)


def _check_memlock(machine: Machine, dims: ModelDims) -> Check:
    """Judge the limit by what the model needs: 178 MiB for base, 2.0 GiB for large-v3."""
    from whisper_npu_cli.engines.npu.plan import plan_encoder

    limit, needed = machine.memlock_bytes, plan_encoder(dims).locked_bytes
    if limit is None or limit >= needed:
        size = "unlimited" if limit is None else f"{limit >> 20} MiB"
        return Check("npu.memlock", OK, f"{size}, {needed >> 20} MiB are needed")
    seen = f"at most {limit >> 10} KiB of memory may be locked, {needed >> 10} KiB are needed"
    cause, raised = "every buffer of the NPU is locked memory", machine.raised_memlock_in
    if machine.is_user_service and raised:
        cause = f"/{raised} does not reach a desktop's terminals: the user's systemd starts them"
        hint = "sudo systemctl edit user@.service: [Service] LimitMEMLOCK=infinity; then reboot"
        return fail("npu.memlock", seen, cause, hint)
    hint = (
        "raise memlock: /etc/security/limits.d (* - memlock unlimited) for logins, "
        "LimitMEMLOCK=infinity of user@.service for a desktop's terminals, or of the unit for a "
        "service, --ulimit memlock=-1 in Docker"
    )
    return fail("npu.memlock", seen, cause, hint)


def _check_contexts(machine: Machine) -> Check:
    holders = machine.holders
    detail = f"{len(holders)} processes hold the NPU: {', '.join(holders)}"
    leaked = machine.find_in_log("amdxdna.*(0x2000006|0x2000003)")
    if len(holders) >= N_CONTEXTS:
        return fail(
            "npu.contexts",
            detail,
            f"the chip has {N_CONTEXTS} hardware contexts for all processes together",
            "end one of these processes",
        )
    if leaked:
        hint = (
            "if there are none left: end the users of the NPU; then suspend and resume, or reboot"
        )
        return Check("npu.contexts", WARNING, leaked, hint, "hardware contexts were leaked")
    return Check("npu.contexts", OK, detail if holders else "nobody else uses the NPU")


def _check_overlay(xclbins: Path | None) -> Check:
    """Report an overlay that is not built as absent, and one that is wrong as failed."""
    from whisper_npu_cli.engines.npu.manifest import (
        HINT_BUILD,
        find_manifest,
        load_manifest,
        verify,
    )
    from whisper_npu_cli.engines.npu.xclbin import check_overlay

    try:
        path = find_manifest(xclbins)
        if path is None:
            return Check("npu.overlay", ABSENT, "the NPU overlay is not built", HINT_BUILD)
        manifest = load_manifest(path)
        verify(manifest)
        for overlay in manifest.overlays:
            check_overlay(path.parent, overlay)
    except OverlayError as error:
        return Check("npu.overlay", FAILED, str(error), error.hint)
    names = ", ".join(f"{x.name} ({len(x.streams)} streams)" for x in manifest.overlays)
    return Check("npu.overlay", OK, f"{path}: {names}")
