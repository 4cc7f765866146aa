"""pyxrt's kernel, run and run list."""

from __future__ import annotations

import os
from typing import Any

from whisper_npu_cli.engines.npu.standin import chip as chips
from whisper_npu_cli.engines.npu.standin.enums import ScopedEnum, ert_cmd_state, expect
from whisper_npu_cli.engines.npu.standin.images import HOST_BANK, SRAM_BANK, hw_context
from whisper_npu_cli.engines.npu.standin.memory import bo
from whisper_npu_cli.engines.npu.timing_model import LIST_MS, RAW_MS

NO_BANK = 0xFFFF
BANKS = (NO_BANK, SRAM_BANK, NO_BANK, *[HOST_BANK] * 5)  # banks of the arguments from opcode to bo4
FOREVER_S = 3600.0
TRANSACTION = 3  # the opcode of an instruction stream


class kernel:  # noqa: N801
    """The one kernel of an overlay."""

    class cu_access_mode(ScopedEnum):  # noqa: N801
        """Access to compute units; unused on an NPU."""

        exclusive = 0
        shared = 1
        none = 2

    exclusive = cu_access_mode.exclusive
    shared = cu_access_mode.shared
    none = cu_access_mode.none

    def __init__(self, *args: Any) -> None:
        expect("kernel", args, (hw_context, str))
        self._context, self._name = args
        if self._name not in self._context._image._info.kernels:
            raise RuntimeError(f"No such kernel '{self._name}'")

    def __call__(self, *args: Any) -> run:
        """Start a run; an argument that is neither a buffer nor an int32 is silently skipped."""
        started = run(self)
        for index, value in enumerate(args):
            if isinstance(value, bo) or (isinstance(value, int) and abs(value) < 2**31):
                started.set_arg(index, value)
        started.start()
        return started

    def group_id(self, index: int, /) -> int:
        """Return bank and context slot of an argument's memory."""
        return int(BANKS[index] | self._context._slot << 16)


class run:  # noqa: N801
    """One command."""

    def __init__(self, *args: Any) -> None:
        expect("run", args, (), (kernel,))
        self._kernel: kernel
        if args:
            self._kernel = args[0]
        self._args: dict[int, Any] = {}
        self._state = ert_cmd_state.ERT_CMD_STATE_NEW
        self._listed = False

    def set_arg(self, index: int, value: Any, /) -> None:
        """Set an argument; a buffer in the wrong bank is replaced by a private copy."""
        expect("set_arg", (index, value), (int, bo), (int, int))
        if isinstance(value, bo) and _is_misplaced(value, index):
            bank = 131071 if BANKS[index] == NO_BANK else self._kernel.group_id(index)
            warn(
                f"Kernel {self._kernel._name} has no compute units with connectivity required "
                f"for global argument at index {index}. The argument is allocated in bank "
                f"{value._bank}, the compute unit is connected to bank {bank}. "
                "Allocating local copy of argument buffer in connected bank.",
            )
            value = _clone(value)
        self._args[index] = value

    def start(self) -> None:
        """Submit the command."""
        if self._listed:
            raise RuntimeError("Run object belongs to a runlist and cannot be explicitly started")
        if self._state is ert_cmd_state.ERT_CMD_STATE_SUBMITTED:
            raise RuntimeError("bad command state, can't launch")
        self._state = ert_cmd_state.ERT_CMD_STATE_SUBMITTED
        self._execute(RAW_MS)

    def state(self) -> ert_cmd_state:
        """Return the state."""
        return self._state

    def wait(self, timeout_ms: int = 0, /) -> ert_cmd_state:
        """Wait; 0 waits for ever, the end of a timeout ends nothing."""
        if self._state is ert_cmd_state.ERT_CMD_STATE_SUBMITTED:
            chips.sleep_locked(timeout_ms / 1000 if timeout_ms else FOREVER_S)
            return ert_cmd_state.ERT_CMD_STATE_TIMEOUT
        return self._state

    def wait2(self) -> None:
        """Wait for ever; RuntimeError where the command did not complete."""
        state = self.wait()
        if state is not ert_cmd_state.ERT_CMD_STATE_COMPLETED:
            raise RuntimeError(f"Command failed to complete successfully ({state.name})")

    def add_callback(self, *_: Any) -> None:
        """Raise TypeError: the binding cannot convert std::function."""
        raise TypeError("add_callback(): incompatible function arguments")

    def _execute(self, dispatch_ms: float) -> None:
        """Run on the device images; sets the state that the command ends in."""
        context = self._kernel._context
        stream = self._read_stream()
        buffers = [value._image for index, value in sorted(self._args.items()) if index > 2]
        ended = "ERROR"
        if stream:
            ended = context._chip.execute(context._slot, stream, buffers, dispatch_ms)
        self._state = ert_cmd_state[f"ERT_CMD_STATE_{ended}"]

    def _read_stream(self) -> bytes:
        """Return the instruction stream as the device sees it; empty where the order is wrong."""
        opcode, instructions, length = (self._args.get(index) for index in range(3))
        if opcode != TRANSACTION or not isinstance(instructions, bo):
            return b""
        sizes = (instructions.size(), instructions.size() // 4)  # in bytes or in words
        return instructions._image.tobytes() if length in sizes else b""


class runlist:  # noqa: N801
    """Commands of one context, submitted together."""

    def __init__(self, *args: Any) -> None:
        expect("runlist", args, (), (hw_context,))
        self._context: hw_context
        if args:
            self._context = args[0]
        self._runs: list[run] = []
        self._executing = False

    def add(self, member: run, /) -> None:
        """Append a run of the same context."""
        self._check_idle("adding")
        if member._kernel._context is not self._context:
            raise RuntimeError("runlist: run belongs to another hw_context")
        member._listed = True
        self._runs.append(member)

    def execute(self) -> None:
        """Submit all members in order."""
        self._check_idle("executing")
        self._executing = bool(self._runs)

    def wait(self, *args: Any) -> None:
        """Wait for ever; RuntimeError where a member failed. A timeout is a TypeError."""
        expect("wait", args, ())
        if not self._executing:
            return
        for index, member in enumerate(self._runs):
            if chips.get_current().drops(index):
                continue
            before = member._state
            member._execute(LIST_MS)
            if member._state is ert_cmd_state.ERT_CMD_STATE_SUBMITTED:
                chips.sleep_locked(FOREVER_S)
            if member._state is not ert_cmd_state.ERT_CMD_STATE_COMPLETED:
                self._fail(index)
            member._state = before  # a list does not update its members when it succeeds
        self._executing = False

    def _fail(self, index: int) -> None:
        for later in self._runs[index + 1 :]:
            later._state = ert_cmd_state.ERT_CMD_STATE_ABORT
        self._executing = False
        raise RuntimeError(f"runlist failed execution ({self._runs[index]._state.name})")

    def _check_idle(self, verb: str) -> None:
        if self._executing:
            raise RuntimeError(f"runlist must be idle before {verb}")


def _is_misplaced(value: bo, index: int) -> bool:
    bank = 99 if index > 2 and chips.get_current().has("bank") else BANKS[index]
    return bool(value._bank != bank)


def _clone(original: bo) -> bo:
    clone = bo.__new__(bo)
    clone._bank = original._bank
    clone._host, clone._image = original._host.copy(), original._image.copy()
    return clone


def warn(message: str) -> None:
    """Write to the process's standard error, below Python, as XRT's console log does."""
    os.write(2, f"[XRT] WARNING: {message}\n".encode())
