"""Why the driver cannot share page tables with the NPU: the commonest failure of real machines.

The driver binds without them and fails at every opening of the node, so the kernel's answer to an
opening counts; where it cannot be had, what the log of this boot has: nothing of all this changes
before the next boot.
"""

from __future__ import annotations

import errno
import os

from whisper_npu_cli.check import OK, Check, fail, warn
from whisper_npu_cli.engines.npu.machine import ACCEL, Machine

NAME = "npu.iommu"
# Answers to an opening that come from the binding (amdxdna_drm_open): the driver of Linux 7.0
# passes its error on, that of 7.3 answers EINVAL and logs the error.
ANSWERS = (errno.ENODEV, errno.EOPNOTSUPP, errno.ENOSPC, errno.EINVAL)
BINDING = r"SVA bind device failed, ret -\d+"
LOGGED = (
    r"amdxdna.*(SVA bind device failed|SVA get pasid failed|Enable PASID failed|PASID unavailable)"
)
OFF = frozenset({"iommu=off", "amd_iommu=off"})
PASSTHROUGH = frozenset({"iommu=pt", "iommu.passthrough=1"})
WITH_SVA = (6, 10)  # the first release with shared virtual addressing on AMD's IOMMU
# A security fix turned it off on x86 in the stable releases from January 2026 on (5.15.200,
# 6.1.163, 6.6.120, 6.12.64, 6.18.4); 6.19 has the repair instead.
WITH_REPAIR = (6, 19)
WITH_PASSTHROUGH = (7, 1)  # reported to work with (noamsto/nix-amd-ai #49)
SHARING = "the driver shares page tables with the NPU, which needs the IOMMU"
REMOVE = "remove that option (GRUB: /etc/default/grub, then sudo update-grub) and reboot"
OWN_KERNEL = (
    "boot the distribution's kernel, or build yours with CONFIG_AMD_IOMMU and CONFIG_IOMMU_SVA"
)


def check_iommu(machine: Machine) -> Check:
    """Judge by the kernel's answer where there is one, else by its log and options."""
    answer = machine.node_answer
    passthrough = min(machine.kernel_options & PASSTHROUGH, default="")
    bound = machine.find_in_log(BINDING)
    logged = None if answer == 0 else bound or machine.find_in_log(LOGGED)
    is_off = bool(machine.kernel_options & OFF) or not machine.exists("sys/class/iommu/*")
    if answer in ANSWERS or logged or (is_off and answer != 0):
        seen = [f"opening /{ACCEL}: {os.strerror(answer)}"] if answer in ANSWERS else []
        detail = "; ".join([*seen, *([logged] if logged else [])]) or "the IOMMU is off"
        error = int(bound.rpartition("-")[2]) if bound else answer
        return fail(NAME, detail, *_explain(machine, error))
    if passthrough and machine.kernel < WITH_PASSTHROUGH:
        cause = "drivers before Linux 7.1 were reported to need an IOMMU that translates"
        hint = f"if the NPU fails: {REMOVE}"
        return warn(NAME, f"the kernel was booted with {passthrough}", cause, hint)
    if answer == 0:
        return Check(NAME, OK, "on, and the kernel opens the NPU")
    return Check(NAME, OK, "the driver uses it" if machine.is_bound else "on")


def _explain(machine: Machine, error: int | None) -> tuple[str, str]:
    """Return cause and fix, the most certain first."""
    off = min(machine.kernel_options & OFF, default="")
    missing = [x for x in ("CONFIG_AMD_IOMMU", "CONFIG_IOMMU_SVA") if machine.lacks_option(x)]
    if off:
        return f"the kernel was booted with {off}, and {SHARING}", REMOVE
    if missing:
        return f"this kernel was built without {missing[0]}, and {SHARING}", OWN_KERNEL
    if not machine.exists("sys/class/iommu/*"):
        return SHARING, "enable the IOMMU in the BIOS (AMD-Vi, often under AMD CBS) and reboot"
    return _explain_kernel(machine, error)


def _explain_kernel(machine: Machine, error: int | None) -> tuple[str, str]:
    """Return cause and fix where the IOMMU is on."""
    if machine.kernel < WITH_SVA:
        cause = "Linux before 6.10 has no shared virtual addressing on AMD's IOMMU"
        return cause, "boot Linux 6.19 or newer"
    if error == errno.EOPNOTSUPP and machine.kernel < WITH_REPAIR:
        cause = (
            "a security fix of January 2026 turned shared virtual addressing off in kernels "
            "before 6.19"
        )
        return cause, "boot Linux 6.19 or newer, which has it with the repair"
    passthrough = min(machine.kernel_options & PASSTHROUGH, default="")
    if passthrough:
        return f"the kernel was booted with {passthrough}, and {SHARING}", REMOVE
    hint = f"enable the IOMMU in the BIOS (AMD-Vi) and boot without options for it; or {OWN_KERNEL}"
    return SHARING, hint
