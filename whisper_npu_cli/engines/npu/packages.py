"""XRT as packages install it: the runtime, its plugin for the NPU, its Python binding."""

from __future__ import annotations

import sys

from whisper_npu_cli.check import OK, Check, fail, warn
from whisper_npu_cli.engines.npu.locate import find_pyxrt
from whisper_npu_cli.engines.npu.machine import Machine, read_version

WITH_NPU = (2, 17)  # XRT of 2024, the first with a plugin for the NPU
SOURCES = (
    "Debian 13: sudo apt install -t trixie-backports {0}; "
    "Ubuntu 24.04: ppa:amd-team/xrt; Ubuntu 26.04: sudo apt install {0}"
)
NAMESAKE = "usr/lib/python3/dist-packages/xrt/__init__.py"  # PyPI's xrt, an X-ray tracer


def check_xrt(machine: Machine) -> Check:
    """Find the runtime, one that knows NPUs, and that the driver understands."""
    path = machine.find_library("libxrt_coreutil")
    hint = SOURCES.format("libxrt-npu2 libxrt-utils python3-xrt")
    if path is None:
        cause = "XRT, AMD's runtime, is not installed"
        return fail("npu.xrt", "no libxrt_coreutil", cause, hint)
    version = read_version(path)
    if len(version) > 1 and version < WITH_NPU:
        cause = f"XRT {version[0]}.{version[1]} is older than the NPU: the distribution's of 2022"
        return fail("npu.xrt", f"/{path}", cause, f"replace libxrt1 and libxrt-utils. {hint}")
    refused = machine.find_in_log("amdxdna.*Not supported request parameter")
    if refused:
        cause = "XRT asks for what this driver does not know: it is newer than the driver"
        hint = (
            "if the NPU fails (GET_INFO, err=-95): take both from one release: "
            "a newer kernel, or AMD's amdxdna-dkms"
        )
        return warn("npu.xrt", refused, cause, hint)
    return Check("npu.xrt", OK, f"/{path}")


def check_xrt_plugin(machine: Machine) -> Check:
    """Find the plugin without which XRT sees no NPU, whatever the node's permissions."""
    path = machine.find_library("libxrt_driver_xdna")
    if path:
        return Check("npu.xrt_plugin", OK, f"/{path}")
    cause = "XRT is installed without its NPU plugin, and sees no device"
    hint = f"{SOURCES.format('libxrt-npu2')}; from AMD: xrt_plugin-amdxdna"
    return fail("npu.xrt_plugin", "no libxrt_driver_xdna", cause, hint)


def check_pyxrt(machine: Machine) -> Check:
    """Find a binding that fits this Python, and not the namesake of its package."""
    minor = sys.version_info.minor
    files = find_pyxrt(machine.root, minor)
    hint = SOURCES.format("python3-xrt")
    if not files and machine.exists(NAMESAKE):
        cause = "the installed python3-xrt is an X-ray tracer of that name, not XRT's binding"
        return fail("npu.pyxrt", f"no pyxrt module, but /{NAMESAKE}", cause, hint)
    if not files:
        cause = "XRT's Python binding is not installed"
        return fail("npu.pyxrt", "no pyxrt module", cause, hint)
    if files[0].fits(minor):
        return Check("npu.pyxrt", OK, str(files[0].path))
    cause = f"it was built for Python 3.{files[0].minor}, and this is Python 3.{minor}"
    return fail(
        "npu.pyxrt",
        str(files[0].path),
        cause,
        f"install whisper-npu with python3.{files[0].minor}",
    )
