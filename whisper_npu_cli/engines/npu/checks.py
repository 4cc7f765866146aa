"""Why the NPU cannot be used: one check for each cause, ordered so that one may hide the next.

Pure judgement over `machine.py`. A check says what it saw, why that is so and what to do; it
never raises. After the first failure the checks that depend on it are skipped, so the first
failure is the cause. Once the driver has accepted the device, what it needed before is not doubted:
a container lacks the firmware's files, and the kernel's log still has what was repaired.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from whisper_npu_cli.check import ABSENT, FAILED, OK, SKIPPED, WARNING, Check
from whisper_npu_cli.checkpoints.random import random_dims
from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.engines.npu.locate import find_pyxrt
from whisper_npu_cli.engines.npu.machine import ACCEL, AMD, Machine, PciDevice
from whisper_npu_cli.engines.npu.manifest import HINT_BUILD, find_manifest, load_manifest, verify
from whisper_npu_cli.engines.npu.plan import plan_encoder
from whisper_npu_cli.engines.npu.xclbin import check_overlay
from whisper_npu_cli.errors import OverlayError

XDNA1 = "0x1502"  # Phoenix and Hawk Point
XDNA2 = {  # revision of device 0x17f0 (xdna-driver amdxdna_pci_drv.c)
    0x10: "Strix",
    0x11: "Strix Halo",
    0x20: "Krackan",
}
WITH_XDNA1 = re.compile(r"Ryzen [3579] (PRO )?(7[6-9]40|8[6-9]4[05]|8[67]00G|2[3-7]0\b)")
IN_KERNEL = (6, 14)  # the release that took the driver in
N_CONTEXTS = 6
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
        ("npu.firmware", _check_firmware),
        ("npu.iommu", _check_iommu),
        ("npu.firmware_version", _check_firmware_version),
        ("npu.kernel_log", _check_kernel_log),
        ("npu.node", _check_node),
        ("npu.permission", _check_permission),
        ("npu.model", lambda _: _check_model(dims)),
        ("npu.memlock", lambda found: _check_memlock(found, dims)),
        ("npu.contexts", _check_contexts),
        ("npu.xrt", _check_xrt),
        ("npu.xrt_plugin", _check_xrt_plugin),
        ("npu.pyxrt", _check_pyxrt),
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


def _fail(name: str, detail: str, cause: str, hint: str) -> Check:
    return Check(name, FAILED, detail, hint, cause)


def _find_in_log(machine: Machine, pattern: str) -> str | None:
    """Return the last line of the kernel's log that has `pattern`."""
    lines = [x for x in machine.kernel_log.splitlines() if re.search(pattern, x, re.IGNORECASE)]
    return lines[-1].strip() if lines else None


def _find_npu(machine: Machine) -> PciDevice | None:
    """Return the NPU's PCI function, of any generation."""
    for device in machine.pci_devices:
        if device.vendor == AMD and device.device in (XDNA1, "0x17f0"):
            return device
    return None


def _check_pci(machine: Machine) -> Check:
    device = _find_npu(machine)
    if device:
        detail = f"{device.address} {device.vendor}:{device.device} rev {device.revision:02x}"
        return Check("npu.pci", OK, detail)
    seen = f"no PCI device 1022:1502 among {len(list(machine.pci_devices))}; {machine.cpu_model}"
    if WITH_XDNA1.search(machine.cpu_model) and not machine.is_virtual:
        return _fail(
            "npu.pci",
            seen,
            "this processor has an NPU and the BIOS keeps it off",
            "enable the IPU or NPU in the BIOS (Advanced, CPU configuration)",
        )
    if machine.is_virtual:
        cause = "this is a virtual machine, and the driver refuses to run in one"
        return Check("npu.pci", ABSENT, seen, "run on the machine itself", cause)
    return Check("npu.pci", ABSENT, seen, None, "this machine has no AMD NPU")


def _is_bound(machine: Machine) -> bool:
    """Say whether the driver has accepted the device."""
    device = _find_npu(machine)
    return device is not None and device.driver == "amdxdna"


def _check_generation(machine: Machine) -> Check:
    device = _find_npu(machine)
    assert device is not None
    if device.device == XDNA1:
        return Check("npu.generation", OK, "XDNA1 (Phoenix or Hawk Point)")
    name = XDNA2.get(device.revision, "of an unknown revision")
    return _fail(
        "npu.generation",
        f"1022:17f0 rev {device.revision:02x}",
        f"this is an XDNA2 NPU ({name}), and overlays are made for XDNA1",
        "use --device cpu here",
    )


def _check_hypervisor(machine: Machine) -> Check:
    if _is_bound(machine) or not machine.is_virtual:
        return Check("npu.hypervisor", OK, "none that the driver minds")
    return _fail(
        "npu.hypervisor",
        "/proc/cpuinfo has the flag hypervisor",
        "the driver refuses to run in a virtual machine",
        "run on the machine itself",
    )


def _check_kernel(machine: Machine) -> Check:
    release = machine.kernel_release or "unknown"
    if machine.kernel >= IN_KERNEL or machine.module_file or machine.module_is_loaded:
        return Check("npu.kernel", OK, release)
    return _fail(
        "npu.kernel",
        f"Linux {release}, and no amdxdna module for it",
        f"the driver came with Linux {IN_KERNEL[0]}.{IN_KERNEL[1]}",
        "boot a newer kernel, or install the driver as a DKMS package (amdxdna-dkms)",
    )


def _check_module(machine: Machine) -> Check:
    npu = _find_npu(machine)
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
    return _fail("npu.module", "amdxdna is not loaded", cause, hint)


def _check_firmware(machine: Machine) -> Check:
    folder = "lib/firmware/amdnpu/1502_00"
    if _is_bound(machine):
        return Check("npu.firmware", OK, "the driver has loaded it")
    logged = _find_in_log(machine, "failed to request_firmware amdnpu|amdnpu/1502.*failed")
    if machine.exists(f"{folder}/*") and not logged:
        return Check("npu.firmware", OK, f"/{folder}")
    return _fail(
        "npu.firmware",
        logged or f"/{folder} is missing or empty",
        "the NPU's firmware is not installed",
        "install a newer linux-firmware (Debian: firmware-amd-graphics), then reboot",
    )


def _check_iommu(machine: Machine) -> Check:
    if _is_bound(machine):
        return Check("npu.iommu", OK, "the driver uses it")
    options = {"iommu=off", "amd_iommu=off"}.intersection(machine.read("proc/cmdline").split())
    logged = _find_in_log(machine, "SVA bind device failed")
    if options:
        seen = f"the kernel was booted with {min(options)}"
        hint = "remove that option (GRUB: /etc/default/grub)"
    elif logged or not machine.exists("sys/class/iommu/*"):
        seen = logged or "/sys/class/iommu is empty"
        hint = "enable the IOMMU: AMD-Vi in the BIOS, amd_iommu=on"
    else:
        return Check("npu.iommu", OK, "on")
    cause = "the driver shares page tables with the device, which needs the IOMMU"
    return _fail("npu.iommu", seen, cause, hint)


def _check_firmware_version(machine: Machine) -> Check:
    logged = _find_in_log(machine, "firmware.*protocol|amdxdna.*EOPNOTSUPP|amdxdna.*error -95")
    if _is_bound(machine) or not logged:
        version = machine.read("sys/class/accel/accel0/device/fw_version")
        return Check("npu.firmware_version", OK, version or "not told before the node exists")
    return _fail(
        "npu.firmware_version",
        logged,
        "driver and firmware speak different protocols",
        "update linux-firmware and the kernel together",
    )


def _check_kernel_log(machine: Machine) -> Check:
    """Fail for a logged fault where the device is gone; else warn, as it may have been repaired."""
    logged = _find_in_log(machine, r"amdxdna.*(mailbox|msg).*time|aie2.*tdr|0x3000003")
    if logged:
        status = WARNING if machine.node else FAILED
        hint = "if it still does: suspend and resume the machine, or reboot it"
        return Check("npu.kernel_log", status, logged, hint, "the NPU's firmware hung")
    seen = "no fault of the NPU in it" if machine.kernel_log else "may not be read by this user"
    return Check("npu.kernel_log", OK, seen)


def _check_node(machine: Machine) -> Check:
    node = machine.node
    if node:
        return Check("npu.node", OK, f"/{ACCEL} {node[0]}")
    if machine.is_container:
        return _fail(
            "npu.node",
            f"/{ACCEL} does not exist in this container",
            "the container was not given the device",
            f"docker run --device /{ACCEL} --ulimit memlock=-1 --group-add render",
        )
    return _fail(
        "npu.node",
        f"/{ACCEL} does not exist, though amdxdna is loaded",
        "the driver did not accept the device",
        "look for amdxdna in the kernel's log: sudo dmesg | grep -i amdxdna",
    )


def _check_permission(machine: Machine) -> Check:
    node = machine.node
    assert node is not None
    if node[1]:
        return Check("npu.permission", OK, "this user may use the NPU")
    return _fail(
        "npu.permission",
        f"/{ACCEL} is {node[0]}",
        "the NPU is there and this user may not open it",
        "sudo usermod -aG render $USER, then log in again",
    )


def _check_model(dims: ModelDims) -> Check:
    try:
        plan = plan_encoder(dims)
    except OverlayError as error:
        return _fail("npu.model", str(error), "no overlay computes this model", "use --device cpu")
    detail = f"{len(plan.steps)} commands a window, {plan.locked_bytes >> 20} MiB of memory"
    return Check("npu.model", OK, detail)


def _check_memlock(machine: Machine, dims: ModelDims) -> Check:
    """Judge the limit by what the model needs: 178 MiB for base, 2.0 GiB for large-v3."""
    limit, needed = machine.memlock_bytes, plan_encoder(dims).locked_bytes
    if limit is None or limit >= needed:
        size = "unlimited" if limit is None else f"{limit >> 20} MiB"
        return Check("npu.memlock", OK, f"{size}, {needed >> 20} MiB are needed")
    return _fail(
        "npu.memlock",
        f"at most {limit >> 10} KiB of memory may be locked, {needed >> 10} KiB are needed",
        "every buffer of the NPU is locked memory",
        "raise memlock: /etc/security/limits.d (@render - memlock unlimited), LimitMEMLOCK=infinity"
        " in a systemd unit, --ulimit memlock=-1 in Docker",
    )


def _check_contexts(machine: Machine) -> Check:
    holders = machine.holders
    detail = f"{len(holders)} processes hold the NPU: {', '.join(holders)}"
    leaked = _find_in_log(machine, "amdxdna.*(0x2000006|0x2000003)")
    if len(holders) >= N_CONTEXTS:
        return _fail(
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


def _check_xrt(machine: Machine) -> Check:
    cause = "XRT, AMD's runtime, is not installed"
    hint = "Debian: libxrt2 libxrt-npu2 python3-xrt; Ubuntu: ppa:amd-team/xrt"
    return _check_library(machine, "npu.xrt", "libxrt_coreutil", (cause, hint))


def _check_xrt_plugin(machine: Machine) -> Check:
    cause = "XRT is installed without its NPU plugin, and sees no device"
    hint = "Debian and Ubuntu: libxrt-npu2; from AMD: xrt_plugin-amdxdna"
    return _check_library(machine, "npu.xrt_plugin", "libxrt_driver_xdna", (cause, hint))


def _check_library(machine: Machine, name: str, library: str, absence: tuple[str, str]) -> Check:
    """Find a shared library; `absence` is cause and hint where there is none."""
    path = machine.find_library(library)
    return Check(name, OK, f"/{path}") if path else _fail(name, f"no {library}", *absence)


def _check_pyxrt(machine: Machine) -> Check:
    minor = sys.version_info.minor
    files = find_pyxrt(machine.root, minor)
    if not files:
        return _fail(
            "npu.pyxrt",
            "no pyxrt module",
            "XRT's Python binding is not installed",
            "Debian: python3-xrt (trixie: from backports)",
        )
    if files[0].fits(minor):
        return Check("npu.pyxrt", OK, str(files[0].path))
    return _fail(
        "npu.pyxrt",
        f"{files[0].path}",
        f"it was built for Python 3.{files[0].minor}, and this is Python 3.{minor}",
        f"install whisper-npu with python3.{files[0].minor}",
    )


def _check_overlay(xclbins: Path | None) -> Check:
    """Report an overlay that is not built as absent, and one that is wrong as failed."""
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
