"""Machines made of files: a healthy one, and one for each fault that it can have.

`python tests/support/machines.py FOLDER` makes all of them, for `whisper-npu doctor --root FOLDER/bios`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RELEASE = "6.14.0-29-generic"
PCI = "sys/bus/pci/devices/0000:c6:00.1"
MODULE = f"lib/modules/{RELEASE}/kernel/drivers/accel/amdxdna/amdxdna.ko.zst"
FIRMWARE = "lib/firmware/amdnpu/1502_00/npu.sbin.zst"
PYXRT = "usr/lib/python3/dist-packages/pyxrt.cpython-3{}-x86_64-linux-gnu.so"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
NODE = "dev/accel/accel0"


@dataclass(frozen=True)
class Case:
    """A faulty machine, the check that must find the cause, and words of the cause and the fix."""

    name: str
    change: Callable[[Path], object]
    check: str
    cause: str
    hint: str = ""
    status: str = "failed"


def write(root: Path, path: str, text: str = "") -> None:
    """Write a file below the root, with its folders."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def remove(*paths: str) -> Callable[[Path], None]:
    """Return a change that removes files and folders."""

    def change(root: Path) -> None:
        for path in paths:
            target = root / path
            is_folder = target.is_dir() and not target.is_symlink()
            shutil.rmtree(target) if is_folder else target.unlink()

    return change


def put(path: str, text: str = "") -> Callable[[Path], None]:
    """Return a change that writes a file."""
    return lambda root: write(root, path, text)


def both(*changes: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return all changes one after the other."""

    def change(root: Path) -> None:
        for each in changes:
            each(root)

    return change


def cpuinfo(model: str, flags: str = "fpu avx2") -> Callable[[Path], None]:
    return put("proc/cpuinfo", f"model name\t: {model}\nflags\t\t: {flags}\n")


def status(uid: int, groups: str) -> Callable[[Path], None]:
    return put(
        "proc/self/status",
        f"Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t1\t1\nGroups:\t{groups}\n",
    )


def log(line: str) -> Callable[[Path], None]:
    return put("var/log/dmesg", f"[    0.0] Linux\n[    5.1] {line}\n")


def mode(bits: int) -> Callable[[Path], None]:
    return lambda root: (root / NODE).chmod(bits)


def make_healthy(root: Path) -> None:
    """A Phoenix laptop on which everything is as it should be, but for the overlay."""
    for name, text in {"vendor": "0x1022", "device": "0x1502", "revision": "0x00"}.items():
        write(root, f"{PCI}/{name}", text + "\n")
    write(root, "sys/bus/pci/drivers/amdxdna/bind")
    (root / PCI / "driver").symlink_to("../../drivers/amdxdna")
    write(root, "sys/module/amdxdna/refcnt", "0\n")
    write(root, "sys/class/iommu/ivhd0/amd-iommu/cap")
    write(root, "sys/class/accel/accel0/device/fw_version", "1.5.5.391\n")
    write(root, "proc/sys/kernel/osrelease", RELEASE + "\n")
    write(root, "proc/cmdline", "root=/dev/nvme0n1p2 quiet\n")
    write(root, "proc/self/limits", "Max locked memory         unlimited  unlimited  bytes\n")
    cpuinfo("AMD Ryzen 7 7840U w/ Radeon 780M Graphics")(root)
    status(1000, "44 992")(root)
    write(root, NODE)
    mode(0o666)(root)
    write(root, MODULE)
    write(root, FIRMWARE)
    write(root, f"{LIBRARIES}/libxrt_coreutil.so.2")
    write(root, f"{LIBRARIES}/libxrt_driver_xdna.so.2")
    write(root, PYXRT.format(sys.version_info.minor))


def hold_the_device(root: Path) -> None:
    """Six processes have the node open."""
    for pid in range(100, 106):
        write(root, f"proc/{pid}/comm", "python3\n")
        (root / f"proc/{pid}/fd").mkdir()
        (root / f"proc/{pid}/fd/7").symlink_to("/dev/accel/accel0")


def strix(revision: str) -> Callable[[Path], None]:
    return both(put(f"{PCI}/device", "0x17f0\n"), put(f"{PCI}/revision", revision))


UNBOUND = remove(NODE, f"{PCI}/driver")  # the driver gave the device up

CASES = [
    Case("desktop", both(remove("sys/bus"), cpuinfo("AMD Ryzen 9 5950X")), "npu.pci", "no AMD NPU", status="absent"),
    Case("intel", both(put(f"{PCI}/vendor", "0x8086"), cpuinfo("Intel(R) Core(TM) Ultra 7 155H")), "npu.pci", "no AMD NPU", status="absent"),
    Case("guest", both(remove("sys/bus"), cpuinfo("AMD Ryzen 7 7840U", "fpu hypervisor")), "npu.pci", "virtual machine", "machine itself", status="absent"),
    Case("bios", remove(PCI), "npu.pci", "BIOS keeps it off", "Advanced"),
    Case("bios-hawk-point", both(remove(PCI), cpuinfo("AMD Ryzen 9 8945HS")), "npu.pci", "BIOS keeps it off", "Advanced"),
    Case("bios-ryzen-200", both(remove(PCI), cpuinfo("AMD Ryzen 7 250 w/ Radeon 780M Graphics")), "npu.pci", "BIOS keeps it off", "Advanced"),
    Case("strix", strix("0x10"), "npu.generation", "XDNA2 NPU (Strix)", "--device cpu"),
    Case("strix-halo", strix("0x11"), "npu.generation", "Strix Halo", "--device cpu"),
    Case("krackan", strix("0x20"), "npu.generation", "Krackan", "--device cpu"),
    Case("virtual", both(UNBOUND, cpuinfo("AMD Ryzen 7 7840U", "fpu hypervisor")), "npu.hypervisor", "virtual machine"),
    Case("old-kernel", both(put("proc/sys/kernel/osrelease", "6.8.0-51-generic"), remove("sys/module/amdxdna", NODE)), "npu.kernel", "Linux 6.14", "amdxdna-dkms"),
    Case("not-loaded", remove("sys/module/amdxdna", NODE), "npu.module", "nothing has loaded it", "modprobe amdxdna"),
    Case("blacklisted", both(remove("sys/module/amdxdna", NODE), put("etc/modprobe.d/npu.conf", "blacklist amdxdna\n")), "npu.module", "etc/modprobe.d/npu.conf forbids", "remove that line"),
    Case("not-configured", remove("sys/module/amdxdna", NODE, MODULE), "npu.module", "CONFIG_DRM_ACCEL", "linux-modules-extra"),
    Case("secure-boot", both(remove("sys/module/amdxdna", NODE), put("sys/firmware/efi/efivars/SecureBoot-8be4", "\6\0\0\0\1")), "npu.module", "Secure Boot", "mokutil"),
    Case("no-firmware", both(UNBOUND, remove(FIRMWARE)), "npu.firmware", "firmware is not installed", "linux-firmware"),
    Case("firmware-not-found", both(UNBOUND, log("amdxdna 0000:c6:00.1: failed to request_firmware amdnpu/1502_00/npu.sbin, ret -2")), "npu.firmware", "not installed", "linux-firmware"),
    Case("iommu-option", both(UNBOUND, put("proc/cmdline", "quiet amd_iommu=off\n")), "npu.iommu", "needs the IOMMU", "remove that option"),
    Case("iommu-bios", both(UNBOUND, remove("sys/class/iommu")), "npu.iommu", "needs the IOMMU", "AMD-Vi"),
    Case("iommu-log", both(UNBOUND, log("amdxdna 0000:c6:00.1: SVA bind device failed, ret -95")), "npu.iommu", "needs the IOMMU", "amd_iommu=on"),
    Case("old-firmware", both(UNBOUND, log("amdxdna 0000:c6:00.1: probe failed, EOPNOTSUPP")), "npu.firmware_version", "different protocols", "update linux-firmware"),
    Case("hung-firmware", both(UNBOUND, log("amdxdna 0000:c6:00.1: mailbox channel timed out")), "npu.kernel_log", "firmware hung", "reboot"),
    Case("repaired-firmware", log("amdxdna 0000:c6:00.1: aie2_tdr_work: Device isn't making progress"), "npu.kernel_log", "firmware hung", "if it still does", status="warning"),
    Case("no-node", UNBOUND, "npu.node", "did not accept the device", "dmesg"),
    Case("container", both(remove(NODE, "lib"), put(".dockerenv")), "npu.node", "not given the device", "--device /dev/accel/accel0"),
    Case("not-in-render", mode(0o660), "npu.permission", "may not open it", "usermod -aG render"),
    Case("memlock", put("proc/self/limits", "Max locked memory         8388608  8388608  bytes\n"), "npu.memlock", "locked memory", "limits.d"),
    Case("contexts", hold_the_device, "npu.contexts", "6 hardware contexts", "end one"),
    Case("leaked-contexts", log("amdxdna 0000:c6:00.1: create context failed 0x2000003"), "npu.contexts", "leaked", "reboot", status="warning"),
    Case("no-xrt", remove(LIBRARIES), "npu.xrt", "not installed", "libxrt-npu2"),
    Case("no-plugin", remove(f"{LIBRARIES}/libxrt_driver_xdna.so.2"), "npu.xrt_plugin", "sees no device", "libxrt-npu2"),
    Case("no-pyxrt", remove("usr/lib/python3"), "npu.pyxrt", "not installed", "python3-xrt"),
    Case("other-python", both(remove("usr/lib/python3"), put(PYXRT.format(9))), "npu.pyxrt", "built for Python 3.9", "python3.9"),
]  # fmt: skip


def make_all(folder: Path) -> None:
    """Make every machine in a folder of its own."""
    for case in (Case("healthy", lambda _: None, "", ""), *CASES):
        make_healthy(folder / case.name)
        case.change(folder / case.name)


if __name__ == "__main__":
    make_all(Path(sys.argv[1]))
