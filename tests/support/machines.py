"""Machines made of files: a healthy one, and one for each fault that it can have.

`python tests/support/machines.py FOLDER` makes all of them, for `whisper-npu doctor --root FOLDER/bios`.
Those with a `thread` are real: their options, versions and lines of the log are the reported ones.
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
    thread: str = ""  # the public report
    more: tuple[str, ...] = ()  # checks that warn as well


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


def log(*lines: str) -> Callable[[Path], None]:
    text = "".join(f"[    5.{i}] {line}\n" for i, line in enumerate(lines, 1))
    return put("var/log/dmesg", f"[    0.0] Linux\n{text}")


def xdna_log(*lines: str) -> Callable[[Path], None]:
    return log(*(f"amdxdna 0000:c6:00.1: {line}" for line in lines))


def kernel(release: str, *config: str) -> Callable[[Path], None]:
    """Return a change of the kernel, with its driver and, if any is given, its configuration."""
    return both(
        put("proc/sys/kernel/osrelease", release + "\n"),
        put(MODULE.replace(RELEASE, release)),
        put(f"boot/config-{release}", "".join(f"{line}\n" for line in config)),
    )


def cmdline(options: str) -> Callable[[Path], None]:
    return put("proc/cmdline", f"root=/dev/nvme0n1p2 quiet {options}\n")


def memlock(kibibytes: int) -> Callable[[Path], None]:
    return put(
        "proc/self/limits",
        f"Max locked memory         {kibibytes << 10}  {kibibytes << 10}  bytes\n",
    )


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


def sva(number: int) -> str:
    return f"[drm] *ERROR* amdxdna_drm_open: SVA bind device failed, ret -{number}"


INITIALIZED = "[drm] Initialized amdxdna_accel_driver 0.6.0 for 0000:c6:00.1 on minor 0"
NO_IOMMU = remove("sys/class/iommu")
LIMITS = put(
    "etc/security/limits.d/99-amdxdna.conf", "* soft memlock unlimited\n* hard memlock unlimited\n"
)
DESKTOP = put(
    "proc/self/cgroup", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte.scope\n"
)
NAMESAKE = "usr/lib/python3/dist-packages/xrt/__init__.py"
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
    Case("old-firmware", both(UNBOUND, log("amdxdna 0000:c6:00.1: probe failed, EOPNOTSUPP")), "npu.firmware_version", "different protocols", "update both"),
    Case("hung-firmware", both(UNBOUND, log("amdxdna 0000:c6:00.1: mailbox channel timed out")), "npu.kernel_log", "firmware hung", "reboot"),
    Case("repaired-firmware", log("amdxdna 0000:c6:00.1: aie2_tdr_work: Device isn't making progress"), "npu.kernel_log", "firmware hung", "if it still does", status="warning"),
    Case("no-node", UNBOUND, "npu.node", "did not accept the device", "dmesg"),
    Case("container", both(remove(NODE, "lib"), put(".dockerenv")), "npu.node", "not given the device", "--device /dev/accel/accel0"),
    Case("not-in-render", mode(0o660), "npu.permission", "may not open it", "usermod -aG render"),
    Case("memlock", memlock(8192), "npu.memlock", "locked memory", "limits.d"),
    Case("contexts", hold_the_device, "npu.contexts", "6 hardware contexts", "end one"),
    Case("leaked-contexts", log("amdxdna 0000:c6:00.1: create context failed 0x2000003"), "npu.contexts", "leaked", "reboot", status="warning"),
    Case("no-xrt", remove(LIBRARIES), "npu.xrt", "not installed", "libxrt-npu2"),
    Case("no-plugin", remove(f"{LIBRARIES}/libxrt_driver_xdna.so.2"), "npu.xrt_plugin", "sees no device", "libxrt-npu2"),
    Case("no-pyxrt", remove("usr/lib/python3"), "npu.pyxrt", "not installed", "python3-xrt"),
    Case("other-python", both(remove("usr/lib/python3"), put(PYXRT.format(9))), "npu.pyxrt", "built for Python 3.9", "python3.9"),
    # Of public reports. The driver is bound and its node is there wherever UNBOUND is not said.
    Case("sva-28", both(kernel("6.8.7+"), xdna_log(INITIALIZED, "amdxdna_drm_open: SVA bind device failed, ret -28")), "npu.iommu", "Linux before 6.10", "boot Linux", thread="amd/xdna-driver#62"),
    Case("sva-19-bios", both(kernel("6.16.1-gentoo"), NO_IOMMU, xdna_log(INITIALIZED, sva(19))), "npu.iommu", "needs the IOMMU", "AMD-Vi", thread="amd/xdna-driver#704"),
    Case("sva-19-config", both(kernel("6.16.1-gentoo", "CONFIG_DRM_ACCEL=y", "CONFIG_AMD_IOMMU=y", "# CONFIG_IOMMU_SVA is not set"), xdna_log(INITIALIZED, sva(19))), "npu.iommu", "without CONFIG_IOMMU_SVA", "build yours with", thread="amd/xdna-driver#704"),
    Case("sva-19-option", both(kernel("6.19.6-2-cachyos"), NO_IOMMU, cmdline("amd_iommu=off"), xdna_log(INITIALIZED, sva(19))), "npu.iommu", "booted with amd_iommu=off", "remove that option", thread="ROCm/FastFlowLM#403"),
    Case("sva-95-stable", both(kernel("6.18.7-gentoo"), xdna_log(INITIALIZED, sva(95))), "npu.iommu", "a security fix of January 2026", "boot Linux 6.19", thread="amd/xdna-driver#1028"),
    Case("sva-95-container", both(kernel("6.17.0-115022-tuxedo"), put("run/.containerenv"), xdna_log(INITIALIZED, sva(95))), "npu.iommu", "a security fix of January 2026", "boot Linux 6.19", thread="lemonade-sdk/lemonade#1771"),
    Case("sva-22-new-driver", both(kernel("7.3.4+deb13-amd64"), NO_IOMMU, xdna_log(INITIALIZED, sva(19), "[drm] amdxdna_drm_open: PASID not available for pid 812", "[drm] *ERROR* amdxdna_drm_open: PASID unavailable and carveout not configured")), "npu.iommu", "needs the IOMMU", "AMD-Vi", thread="amd/xdna-driver#704"),
    Case("pasid-19", both(UNBOUND, NO_IOMMU, xdna_log("enabling device (0000 -> 0002)", "aie2_init: Enable PASID failed, ret -19", "amdxdna_probe: Hardware init failed, ret -19")), "npu.iommu", "needs the IOMMU", "AMD-Vi", thread="amd/xdna-driver#299"),
    Case("pasid-95", both(UNBOUND, xdna_log("aie2_init: Enable PASID failed, ret -95", "amdxdna_probe: Hardware init failed, ret -95", "probe with driver amdxdna failed with error -95")), "npu.iommu", "needs the IOMMU", "AMD-Vi", thread="amd/xdna-driver#299"),
    Case("iommu-pt", both(kernel("7.0.0-14-generic"), cmdline("iommu=pt")), "npu.iommu", "an IOMMU that translates", "remove that option", status="warning", thread="noamsto/nix-amd-ai#49"),
    Case("sva-19-iommu-pt", both(kernel("7.0.0-14-generic"), cmdline("iommu=pt"), xdna_log(INITIALIZED, sva(19))), "npu.iommu", "booted with iommu=pt", "remove that option", thread="noamsto/nix-amd-ai#49"),
    Case("mbox-magic", both(UNBOUND, xdna_log("[drm] *ERROR* aie2_get_mgmt_chann_info: Invalid mbox magic 0x30ec000", "[drm] *ERROR* aie2_hw_start: firmware is not alive", "[drm] *ERROR* aie2_smu_exec: smu cmd 4 failed, 0xff", "[drm] *ERROR* amdxdna_probe: Hardware init failed, ret -22", "probe with driver amdxdna failed with error -22")), "npu.firmware", "no firmware that this driver can start", "reinstall", thread="amd/xdna-driver#389"),
    Case("firmware-too-new", both(UNBOUND, kernel("6.17.0-19-generic"), xdna_log("[drm] *ERROR* aie2_check_protocol: Incompatible firmware protocol major 7 minor 2", "[drm] *ERROR* aie2_hw_start: firmware is not alive")), "npu.firmware_version", "different protocols", "newer kernel", thread="amd/xdna-driver#1074"),
    Case("get-info-95", xdna_log(INITIALIZED, "[drm] *ERROR* aie2_get_info: Not supported request parameter 9"), "npu.xrt", "newer than the driver", "err=-95", status="warning", thread="amd/xdna-driver#118"),
    Case("timer-expired", xdna_log(INITIALIZED, "[drm] *ERROR* aie2_hwctx_cu_config: Config CU to firmware failed, ret -62"), "npu.kernel_log", "firmware hung", "modprobe -r amdxdna", status="warning", thread="Xilinx/mlir-aie#1539"),
    Case("firmware-1.5.2", both(put("sys/class/accel/accel0/device/fw_version", "1.5.2.380\n"), xdna_log(INITIALIZED, "aie2_tdr_work: Device isn't making progress...")), "npu.firmware_version", "before 1.5.5.391", "npu_7.sbin", status="warning", thread="Xilinx/mlir-aie#3062", more=("npu.kernel_log",)),
    Case("firmware-1.5.1", put("sys/class/accel/accel0/device/fw_version", "1.5.1.362\n"), "npu.firmware_version", "before 1.5.5.391", "npu_7.sbin", status="warning", thread="Xilinx/mlir-aie#2011"),
    Case("x-ray", both(remove("usr/lib/python3"), put(NAMESAKE)), "npu.pyxrt", "X-ray tracer", "trixie-backports", thread="Debian 13 and Ubuntu 24.04: python3-xrt 1.6.0"),
    Case("xrt-2022", both(remove(LIBRARIES, "usr/lib/python3"), put(f"{LIBRARIES}/libxrt_coreutil.so.2"), put(f"{LIBRARIES}/libxrt_coreutil.so.2.13.0"), put("usr/bin/xbutil")), "npu.xrt", "XRT 2.13", "replace libxrt1", thread="Debian 13 and Ubuntu 24.04: libxrt-utils 202210.2.13.466"),
    Case("plugin-and-group", both(mode(0o660), remove(f"{LIBRARIES}/libxrt_driver_xdna.so.2")), "npu.xrt_plugin", "sees no device", "libxrt-npu2", thread="Xilinx/XRT#9141"),
    Case("memlock-desktop", both(memlock(8192), LIMITS, DESKTOP), "npu.memlock", "does not reach a desktop's terminals", "user@.service", thread="amd/xdna-driver README, Fedora"),
]  # fmt: skip


def make_all(folder: Path) -> None:
    """Make every machine in a folder of its own."""
    for case in (Case("healthy", lambda _: None, "", ""), *CASES):
        make_healthy(folder / case.name)
        case.change(folder / case.name)


if __name__ == "__main__":
    make_all(Path(sys.argv[1]))
    for each in CASES:
        print(f"{sys.argv[1]}/{each.name}: {each.status} {each.check}  {each.thread}")
