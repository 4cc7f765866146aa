"""pyxrt's surface over `chip.py`: the names, overloads, types and errors of XRT 2.21.

Held to the real binding by `test_pyxrt.py`. The binding's ELF flow (`elf`,
`program`, `module`, `ext`) is absent: an XDNA1 overlay is an xclbin with instruction streams.
Source of the behaviour: Xilinx/XRT `pyxrt.cpp` and `xrt_kernel.cpp`.
"""

from __future__ import annotations

import os

from whisper_npu_cli.engines.npu.standin import chip
from whisper_npu_cli.engines.npu.standin.commands import kernel, run, runlist
from whisper_npu_cli.engines.npu.standin.enums import (
    ert_cmd_state,
    xclBOSyncDirection,
    xrt_info_device,
    xrt_msg_level,
)
from whisper_npu_cli.engines.npu.standin.images import device, hw_context, uuid, xclbin
from whisper_npu_cli.engines.npu.standin.memory import bo

__all__ = [
    "XCL_BO_FLAGS_NONE",
    "alert",
    "bo",
    "critical",
    "debug",
    "device",
    "emergency",
    "enumerate_devices",
    "error",
    "ert_cmd_state",
    "hw_context",
    "info",
    "kernel",
    "log_message",
    "notice",
    "run",
    "runlist",
    "uuid",
    "warning",
    "xclBOSyncDirection",
    "xclbin",
    "xrt_info_device",
    "xrt_msg_level",
]

XCL_BO_FLAGS_NONE = 0
(emergency, alert, critical, error, warning, notice, info, debug) = xrt_msg_level


def enumerate_devices() -> int:
    """Return the number of devices that XRT sees."""
    return 0 if chip.get_current().has("no-device") else 1


def log_message(level: xrt_msg_level, tag: str, message: str, /) -> None:
    """Write one line to the process's standard error, below Python, as XRT's console log does."""
    os.write(2, f"[XRT] {level.name.upper()}: [{tag}] {message}\n".encode())
