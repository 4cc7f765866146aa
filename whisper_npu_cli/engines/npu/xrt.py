"""The device runtime on AMD's XRT. The only module that imports pyxrt.

Written for XRT 2.19 to 2.25: positional calls, `register_xclbin` and `hw_context`, run lists
where the binding has them. pyxrt holds the interpreter lock in every wait, so this runs in a
process of its own (`worker.py`).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.engines.npu.locate import find_pyxrt
from whisper_npu_cli.engines.npu.manifest import Overlay
from whisper_npu_cli.engines.npu.runtime import Command
from whisper_npu_cli.engines.npu.xclbin import FIRST_DATA_ARGUMENT
from whisper_npu_cli.errors import DeviceError

TRANSACTION = 3  # opcode: run an instruction stream
BANK_WARNING = b"no compute units with connectivity"  # XRT then runs on a private copy
RUNNING = ("NEW", "QUEUED", "SUBMITTED")
POLL_S = 0.0002  # pyxrt's wait would hold the interpreter lock

HINTS = {
    "err=-22": "all six hardware contexts are in use; see: whisper-npu doctor",
    "err=-2)": "all six hardware contexts are in use; see: whisper-npu doctor",
    "err=-62": "the NPU's firmware hung: suspend and resume the machine, or reboot it",
    "err=-95": "XRT is newer than the kernel's driver: install a pair that belongs together",
    "err=-11": "locked memory is limited; raise memlock (limits.d, LimitMEMLOCK)",
    "err=-13": "add yourself to the group render and log in again",
    "Permission denied": "add yourself to the group render and log in again",
}


def import_pyxrt() -> ModuleType:
    """Import the pyxrt of this machine; DeviceError that names the Python it was built for."""
    if importlib.util.find_spec("pyxrt"):
        return _import()
    files = find_pyxrt()
    if not files:
        hint = "install XRT with its Python binding (Debian: python3-xrt); see: whisper-npu doctor"
        raise DeviceError("pyxrt is not installed", hint=hint)
    file, minor = files[0], sys.version_info.minor
    if not file.fits(minor):
        hint = f"install whisper-npu with python3.{file.minor}, or a pyxrt for Python 3.{minor}"
        message = f"{file.path} was built for Python 3.{file.minor}; this is Python 3.{minor}"
        raise DeviceError(message, hint=hint)
    sys.path.append(str(file.path.parent))
    try:
        return _import()
    finally:
        sys.path.remove(str(file.path.parent))


def _import() -> ModuleType:
    try:
        return importlib.import_module("pyxrt")
    except ImportError as error:
        hint = "pyxrt and libxrt must come from the same release"
        raise DeviceError(f"pyxrt cannot be loaded: {error}", hint=hint) from error


class XrtBuffer:
    """A buffer object and its mapped host image."""

    def __init__(self, pyxrt: ModuleType, bo: Any, size_bytes: int) -> None:
        self.bo = bo
        self.size_bytes = size_bytes
        self.host: NDArray[np.uint8] = np.asarray(_Mapping(bo))
        self._directions = pyxrt.xclBOSyncDirection

    def to_device(self, size_bytes: int | None = None) -> None:
        """Flush the host's writes."""
        direction = self._directions.XCL_BO_SYNC_BO_TO_DEVICE
        self.bo.sync(direction, size_bytes or self.size_bytes, 0)

    def to_host(self) -> None:
        """Drop the host's stale cache lines."""
        self.bo.sync(self._directions.XCL_BO_SYNC_BO_FROM_DEVICE, self.size_bytes, 0)


class _Mapping:
    """Lends a mapped buffer object to NumPy, which keeps this object and so the buffer alive."""

    def __init__(self, bo: Any) -> None:
        self._bo = bo  # keeps it: a view of the map() of a freed buffer would crash the process
        view = np.frombuffer(bo.map(), np.uint8)
        self.__array_interface__ = view.__array_interface__


class XrtRunList:
    """Bound commands, submitted together as `runlist`, or one by one without one."""

    def __init__(self, runtime: XrtRuntime, runs: Sequence[Any], runlist: Any) -> None:
        self.n_commands = len(runs)
        self.n_submissions = 1 if runlist else len(runs)
        self._runtime = runtime
        self._runs = runs
        self._list = runlist
        for run in runs if runlist else ():
            runlist.add(run)

    def run(self, timeout_s: float, beside: Callable[[], None] = lambda: None) -> float:
        """Run all commands, and `beside` once the first are submitted; return device ms."""
        clock = self._runtime.clock
        start = clock()
        with _translate_errors("the NPU stopped"):
            if self._list is None:
                for index, run in enumerate(self._runs):
                    run.start()
                    if index == 0:
                        beside()
                    self._await(run, timeout_s)
            else:
                self._list.execute()
                try:
                    beside()
                finally:
                    self._list.wait()  # has no deadline from Python
        return (clock() - start) * 1000

    def _await(self, run: Any, timeout_s: float) -> None:
        """Poll a started command: a blocking wait would stop this process's threads."""
        states = self._runtime.pyxrt.ert_cmd_state
        running = [getattr(states, f"ERT_CMD_STATE_{name}") for name in RUNNING]
        deadline = time.monotonic() + timeout_s
        while (state := run.state()) in running or int(state) == 3:  # 3: running, has no name
            if time.monotonic() > deadline:
                raise DeviceError(f"the NPU did not answer within {timeout_s:g} s")
            time.sleep(POLL_S)
        if state != states.ERT_CMD_STATE_COMPLETED:
            raise DeviceError(f"the NPU ended a command with {state.name}")


class XrtProgram:
    """A loaded overlay: context, kernel, and the instruction streams that were ever commanded.

    An overlay has 59 streams for seven models; one model runs 11 of them.
    """

    def __init__(self, runtime: XrtRuntime, folder: Path, overlay: Overlay) -> None:
        pyxrt = runtime.pyxrt
        xclbin = pyxrt.xclbin(str(folder / overlay.xclbin))
        uuid = runtime.device.register_xclbin(xclbin)
        self._runtime = runtime
        self._context = pyxrt.hw_context(runtime.device, uuid)
        self._kernel = pyxrt.kernel(self._context, overlay.kernel)
        self._files = {stream.spec.name: folder / stream.insts for stream in overlay.streams}
        self._streams: dict[str, XrtBuffer] = {}

    def _find_stream(self, name: str) -> XrtBuffer:
        """Return the instructions of a stream, uploaded when it is first commanded."""
        if name not in self._streams:
            self._streams[name] = self._upload(self._files[name].read_bytes())
        return self._streams[name]

    def _upload(self, instructions: bytes) -> XrtBuffer:
        pyxrt, group = self._runtime.pyxrt, self._kernel.group_id(1)
        bo = pyxrt.bo(self._runtime.device, len(instructions), pyxrt.bo.cacheable, group)
        buffer = XrtBuffer(pyxrt, bo, len(instructions))
        buffer.host[:] = np.frombuffer(instructions, np.uint8)
        buffer.to_device()
        return buffer

    def run_list(self, commands: Sequence[Command], *, chained: bool) -> XrtRunList:
        """Bind `commands` for repeated execution, together if `chained` and XRT has run lists."""
        make_list = getattr(self._runtime.pyxrt, "runlist", None) if chained else None
        with _translate_errors("XRT refused a command"), _raise_bank_warnings():
            runs = [self._bind(command) for command in commands]
            return XrtRunList(self._runtime, runs, make_list and make_list(self._context))

    def _bind(self, command: Command) -> Any:
        """Make a run; the types are checked here, for pyxrt skips what it cannot convert."""
        stream = self._find_stream(command.stream)
        run = self._runtime.pyxrt.run(self._kernel)
        run.set_arg(0, TRANSACTION)
        run.set_arg(1, stream.bo)
        run.set_arg(2, stream.size_bytes)
        for index, buffer in enumerate(command.buffers, FIRST_DATA_ARGUMENT):
            if not isinstance(buffer, XrtBuffer):
                raise TypeError(f"{command.stream}: argument {index} is not a device buffer")
            run.set_arg(index, buffer.bo)
        return run


class XrtRuntime:
    """One NPU opened through a pyxrt module; `clock` gives the seconds that device times use."""

    def __init__(self, pyxrt: ModuleType, clock: Callable[[], float] = time.perf_counter) -> None:
        if pyxrt.enumerate_devices() == 0:
            hint = "find out why: whisper-npu doctor"
            raise DeviceError("XRT sees no NPU on this machine", hint=hint)
        self.pyxrt = pyxrt
        self.clock = clock
        self.predicted = clock is not time.perf_counter
        with _translate_errors("the NPU cannot be opened"):
            self.device = pyxrt.device(0)
            self.name = self._get_info("name")

    @property
    def clock_mhz(self) -> int:
        """The array's clock; true only while a context is open."""
        return int(self._get_info("max_clock_frequency_mhz") or 0)

    def _get_info(self, key: str) -> str:
        return str(self.device.get_info(getattr(self.pyxrt.xrt_info_device, key)))

    def load(self, folder: Path, overlay: Overlay) -> XrtProgram:
        """Open the overlay's hardware context."""
        with _translate_errors(f"the NPU refused overlay {overlay.name}"):
            return XrtProgram(self, folder, overlay)

    def alloc(self, size_bytes: int) -> XrtBuffer:
        """Allocate a data buffer in the host bank, which all contexts share."""
        with _translate_errors(f"cannot allocate {size_bytes} bytes for the NPU"):
            flags = self.pyxrt.bo.host_only
            return XrtBuffer(
                self.pyxrt, self.pyxrt.bo(self.device, size_bytes, flags, 0), size_bytes
            )


@contextmanager
def _translate_errors(what: str) -> Iterator[None]:
    """Turn XRT's RuntimeError into a DeviceError with the hint for its number."""
    try:
        yield
    except RuntimeError as error:
        text = " ".join(str(error).split())
        hint = next((hint for mark, hint in HINTS.items() if mark in text), None)
        raise DeviceError(f"{what}: {text}", hint=hint) from error


@contextmanager
def _raise_bank_warnings() -> Iterator[None]:
    """Raise where XRT says on standard error that it will run on a private copy of a buffer.

    XRT only warns and the results are then zeros, so the warning is the only evidence.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            log.seek(0)
            written = log.read()
            os.write(2, written)
    if BANK_WARNING in written:
        raise DeviceError(
            "XRT put a buffer of the NPU into another memory bank; its results would be zeros",
            hint="the overlay and XRT do not fit together; see: whisper-npu doctor",
        )
