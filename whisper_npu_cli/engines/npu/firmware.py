"""The NPU's firmware: is it there, is it the right file, is it new enough, did it hang."""

from __future__ import annotations

import errno

from whisper_npu_cli.check import FAILED, OK, WARNING, Check, fail, warn
from whisper_npu_cli.engines.npu.machine import ACCEL, FIRMWARE, Machine, read_version

# With older firmware commands hung that run with this one (Xilinx/mlir-aie #3062).
GOOD_VERSION = (1, 5, 5, 391)
PROTOCOL = "Incompatible firmware protocol|amdxdna.*EOPNOTSUPP|amdxdna.*error -95"
PACKAGES = "Debian: firmware-amd-graphics of backports; Ubuntu: linux-firmware"


def check_firmware(machine: Machine) -> Check:
    """Find the file that the driver loads; once it has accepted the device nothing is doubted."""
    if machine.is_bound:
        return Check("npu.firmware", OK, "the driver has loaded it")
    absent = machine.find_in_log("failed to request_firmware")
    here = [folder for folder in FIRMWARE if machine.exists(f"{folder}/*")]
    if absent or not here:
        cause = "the NPU's firmware is not installed"
        hint = f"install it ({PACKAGES}), then reboot"
        return fail("npu.firmware", absent or f"/{FIRMWARE[0]} is missing or empty", cause, hint)
    dead = machine.find_in_log("Invalid mbox magic|firmware is not alive")
    if dead and not machine.find_in_log(PROTOCOL):
        cause = f"what lies in /{here[0]} is no firmware that this driver can start"
        hint = f"reinstall the package that has it ({PACKAGES}), remove files put there by hand,"
        return fail("npu.firmware", dead, cause, f"{hint} then power off and on")
    return Check("npu.firmware", OK, f"/{here[0]}")


def check_firmware_version(machine: Machine) -> Check:
    """Fail where driver and firmware do not understand each other, warn of firmware that hangs."""
    logged = machine.find_in_log(PROTOCOL)
    if logged and not machine.is_bound:
        cause = "driver and firmware speak different protocols"
        hint = f"update both together: a newer kernel, and firmware ({PACKAGES})"
        return fail("npu.firmware_version", logged, cause, hint)
    version = machine.firmware_version
    if version and read_version(version) < GOOD_VERSION:
        cause = "with firmware before 1.5.5.391 commands of the NPU were seen to hang"
        hint = (
            "if it does: Linux 7.0 or newer, which loads npu_7.sbin, and that file (Debian 13: "
            "firmware-amd-graphics of backports; Ubuntu 26.04: linux-firmware)"
        )
        return warn("npu.firmware_version", version, cause, hint)
    return Check("npu.firmware_version", OK, version or "not told before the node exists")


def check_kernel_log(machine: Machine) -> Check:
    """Fail for a logged fault where the device is gone; else warn, as it may have been repaired."""
    if machine.node_answer == errno.ETIMEDOUT:
        seen = f"opening /{ACCEL} does not return"
        cause = "the driver is stuck in an earlier fault"
        return fail("npu.kernel_log", seen, cause, "reboot the machine")
    logged = machine.find_in_log(
        r"amdxdna.*(mailbox|msg).*time|amdxdna.*ret -62|aie2.*tdr|0x3000003"
    )
    if logged:
        status = WARNING if machine.node else FAILED
        hint = (
            "if it still does: sudo modprobe -r amdxdna && sudo modprobe amdxdna; "
            "else suspend and resume, or reboot"
        )
        return Check("npu.kernel_log", status, logged, hint, "the NPU's firmware hung")
    seen = "no fault of the NPU in it" if machine.kernel_log else "may not be read by this user"
    return Check("npu.kernel_log", OK, seen)
