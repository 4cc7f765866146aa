"""What Linux tells about this machine's NPU: files read below a root, and nothing judged.

The root is `/`, or a folder with a captured or made `/sys`, `/proc`, `/dev`, `/lib`, `/etc`.
"""

from __future__ import annotations

import errno
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

AMD = "0x1022"
XDNA1 = "0x1502"  # Phoenix and Hawk Point
XDNA2 = "0x17f0"
CAP_IPC_LOCK = 1 << 14  # capabilities(7): a process with this one has no limit of locked memory
ACCEL = "dev/accel/accel0"
FIRMWARE = ("lib/firmware/amdnpu/1502_00", "usr/lib/firmware/amdnpu/1502_00")
# A child opens the node: after some faults of the driver an open never returns (FastFlowLM #103).
OPEN = """
import os, sys
try:
    os.close(os.open(sys.argv[1], os.O_RDWR))
except OSError as error:
    sys.exit(error.errno)
"""
OPEN_S = 5.0
XDNA_XRT = ("usr/lib/x86_64-linux-gnu", "usr/lib", "usr/lib64", "opt/xilinx/xrt/lib")


@dataclass(frozen=True)
class PciDevice:
    """A PCI function of sysfs."""

    address: str  # 0000:c6:00.1
    vendor: str  # 0x1022
    device: str  # 0x1502
    revision: int
    driver: str | None  # the one bound to it


class Machine:
    """The machine below `root`; every property reads anew."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def read(self, path: str) -> str:
        """Return the text of a file, empty where it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def exists(self, pattern: str) -> bool:
        """Say whether a path, which may hold wildcards, exists."""
        return next(self.root.glob(pattern), None) is not None

    @property
    def pci_devices(self) -> Iterator[PciDevice]:
        """All PCI functions."""
        for folder in sorted(self.root.glob("sys/bus/pci/devices/*")):
            at = folder.relative_to(self.root)
            driver = folder / "driver"
            yield PciDevice(
                folder.name,
                self.read(f"{at}/vendor"),
                self.read(f"{at}/device"),
                int(self.read(f"{at}/revision") or "0", 16),
                driver.resolve().name if driver.exists() else None,
            )

    @property
    def npu(self) -> PciDevice | None:
        """The NPU's PCI function, of any generation."""
        for device in self.pci_devices:
            if device.vendor == AMD and device.device in (XDNA1, XDNA2):
                return device
        return None

    @property
    def is_bound(self) -> bool:
        """Whether the driver has accepted the NPU."""
        return self.npu is not None and self.npu.driver == "amdxdna"

    @property
    def kernel(self) -> tuple[int, int]:
        """The kernel's version; (0, 0) where it is not told."""
        match = re.match(r"(\d+)\.(\d+)", self.kernel_release)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    @property
    def kernel_release(self) -> str:
        """The kernel's release, for example 6.14.0-29-generic."""
        return self.read("proc/sys/kernel/osrelease")

    @property
    def kernel_options(self) -> frozenset[str]:
        """The words of the kernel's command line."""
        return frozenset(self.read("proc/cmdline").split())

    def lacks_option(self, option: str) -> bool:
        """Say whether the kernel's configuration is known, and has not `option`."""
        built = self.read(f"boot/config-{self.kernel_release}").splitlines()
        return bool(built) and f"{option}=y" not in built

    @property
    def module_file(self) -> str | None:
        """The driver's file for this kernel; None where there is none."""
        folder = self.root / "lib/modules" / self.kernel_release
        found = sorted(folder.rglob("amdxdna.ko*")) if folder.is_dir() else []
        return str(found[0].relative_to(self.root)) if found else None

    @property
    def module_is_loaded(self) -> bool:
        """Whether the driver is in the kernel."""
        return self.exists("sys/module/amdxdna")

    @property
    def blacklisted_in(self) -> str | None:
        """The modprobe file that keeps the driver out; None where none does."""
        for file in sorted(self.root.glob("etc/modprobe.d/*.conf")):
            name = str(file.relative_to(self.root))
            if re.search(r"^\s*(blacklist|install)\s+amdxdna\b", self.read(name), re.MULTILINE):
                return name
        return None

    @property
    def secure_boot(self) -> bool:
        """Whether the firmware demands signed modules."""
        for variable in self.root.glob("sys/firmware/efi/efivars/SecureBoot-*"):
            return variable.read_bytes()[-1:] == b"\1"
        return False

    @property
    def cpu_model(self) -> str:
        """The processor's name."""
        match = re.search(r"^model name\s*:\s*(.+)$", self.read("proc/cpuinfo"), re.MULTILINE)
        return match[1] if match else ""

    @property
    def is_virtual(self) -> bool:
        """Whether a hypervisor is under this kernel."""
        return "hypervisor" in self.read("proc/cpuinfo").split()

    @property
    def is_container(self) -> bool:
        """Whether this is a container, which sees only the devices that it was given."""
        return self.exists(".dockerenv") or self.exists("run/.containerenv")

    @property
    def node(self) -> tuple[str, bool] | None:
        """The device node's mode, owner and group, and whether this user may use it."""
        try:
            found = (self.root / ACCEL).stat()
        except OSError:
            return None
        described = f"{stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid}"
        return described, self._may_use(found.st_mode, found.st_uid, found.st_gid)

    @cached_property
    def node_answer(self) -> int | None:
        """What the kernel answers to opening the node: 0, or an errno, ETIMEDOUT for no answer.

        None where there is no node, or where the root is not this machine's.
        """
        if self.root != Path("/") or self.node is None:
            return None
        child = subprocess.Popen(
            [sys.executable, "-ISc", OPEN, f"/{ACCEL}"], stderr=subprocess.DEVNULL
        )
        try:
            return child.wait(OPEN_S)
        except subprocess.TimeoutExpired:
            child.kill()
            with suppress(subprocess.TimeoutExpired):  # in the kernel it does not hear it
                child.wait(1)
            return errno.ETIMEDOUT

    def _may_use(self, mode: int, owner: int, group: int) -> bool:
        """Judge by user and group numbers alone: the root may be a captured machine's."""
        status = self.read("proc/self/status")
        user = re.search(r"^Uid:\s+\d+\s+(\d+)", status, re.MULTILINE)
        groups = re.search(r"^Groups:\s*(.*)$", status, re.MULTILINE)
        main = re.search(r"^Gid:\s+\d+\s+(\d+)", status, re.MULTILINE)
        if user is None or int(user[1]) == 0:
            return True
        if int(user[1]) == owner:
            return mode & 0o600 == 0o600
        belongs = {*(groups[1].split() if groups else ()), *([main[1]] if main else ())}
        if str(group) in belongs:
            return mode & 0o060 == 0o060
        return mode & 0o006 == 0o006

    @property
    def memlock_bytes(self) -> int | None:
        """The limit of locked memory; None where this process has none."""
        capabilities = re.search(r"^CapEff:\s+(\w+)", self.read("proc/self/status"), re.MULTILINE)
        if capabilities and int(capabilities[1], 16) & CAP_IPC_LOCK:
            return None
        limits = self.read("proc/self/limits")
        match = re.search(r"^Max locked memory\s+(\S+)", limits, re.MULTILINE)
        return int(match[1]) if match and match[1].isdigit() else None

    @property
    def raised_memlock_in(self) -> str | None:
        """The file of PAM's limits that raises locked memory for logins; None where none does."""
        for file in sorted(self.root.glob("etc/security/limits.d/*.conf")):
            name = str(file.relative_to(self.root))
            if re.search(
                r"^[^#]*\smemlock\s+(unlimited|infinity|-1)\b", self.read(name), re.MULTILINE
            ):
                return name
        return None

    @property
    def is_user_service(self) -> bool:
        """Whether the user's systemd started this process: a terminal of a desktop is one."""
        return bool(re.search(r"/user@\d+\.service/", self.read("proc/self/cgroup")))

    @property
    def holders(self) -> list[str]:
        """The processes that hold the device open, as far as this user may see."""
        found = set()
        for link in self.root.glob("proc/[0-9]*/fd/*"):
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.endswith(ACCEL):
                pid = link.parts[-3]
                found.add(f"{pid} {self.read(f'proc/{pid}/comm')}")
        return sorted(found)

    @property
    def kernel_log(self) -> str:
        """The kernel's messages; empty where they may not be read."""
        if self.root != Path("/"):
            return self.read("var/log/dmesg")
        try:
            done = subprocess.run(["dmesg"], capture_output=True, text=True, timeout=5, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout

    def find_in_log(self, pattern: str) -> str | None:
        """Return the last line of the kernel's log that has `pattern`."""
        lines = [x for x in self.kernel_log.splitlines() if re.search(pattern, x, re.IGNORECASE)]
        return lines[-1].strip() if lines else None

    @property
    def firmware_version(self) -> str:
        """The version of the NPU's running firmware; empty where there is no node."""
        return self.read("sys/class/accel/accel0/device/fw_version")

    def find_library(self, name: str) -> str | None:
        """Return the path of a shared library of XRT, with its version; None where it is absent."""
        for folder in XDNA_XRT:
            found = [str(x.relative_to(self.root)) for x in self.root.glob(f"{folder}/{name}.so*")]
            if found:
                return max(found, key=read_version)
        return None


def read_version(text: str) -> tuple[int, ...]:
    """Return the numbers at the end of `text`: (2, 13, 0) of libxrt_coreutil.so.2.13.0."""
    match = re.search(r"\d+(\.\d+)*$", text)
    return tuple(map(int, match[0].split("."))) if match else ()
