"""The chip behind the stand-in: contexts, instruction streams, faults and a predicted clock.

An instruction stream is opaque, as on hardware: it is known by its SHA-256, and one that is not
known completes with garbage. Knows no Whisper words; `operators.py` says what streams compute.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.engines.npu.standin.faults import Fault
from whisper_npu_cli.engines.npu.timing_model import CREATE_MS, SWITCH_MS, predict_sync_ms

Bytes = NDArray[np.uint8]

N_CONTEXTS = 6  # hwctx_limit of npu1, for all processes together (xdna-driver npu1_regs.c)
SUSPEND_MS = 20.0  # rebuilding contexts after a runtime suspend; order of magnitude only
RESET_S = 2.0  # the driver's timeout detection (xdna-driver aie2_ctx.c)
POISON = 0x7F  # bf16 and fp32 of these bytes are 3.4e38: what is read unwritten overflows


class Operator(Protocol):
    """What one instruction stream computes."""

    sizes: tuple[int, ...]  # least bytes of each buffer argument
    written: tuple[int, ...]  # numbers of the buffer arguments that it writes
    device_ms: float  # predicted, without the dispatch

    def __call__(self, buffers: Sequence[Bytes]) -> None:
        """Compute on the device images of the buffer arguments."""
        ...


@dataclass
class Chip:
    """One NPU; `operators` by the SHA-256 of their instruction streams."""

    operators: Mapping[str, Operator] = field(default_factory=dict)
    faults: Sequence[Fault] = ()
    elapsed_ms: float = 0.0  # predicted device time
    n_commands: int = 0
    contexts: dict[int, str] = field(default_factory=dict)  # slot -> xclbin path
    active: int = 0  # slot of the context that ran last

    def has(self, kind: str) -> bool:
        """Say whether a fault of `kind` that needs no command is planned."""
        return any(fault.kind == kind for fault in self.faults)

    def drops(self, index: int) -> bool:
        """Say whether member number `index` of a run list is dropped without a word."""
        return any(fault.kind == "chain" and index >= fault.at for fault in self.faults)

    def open_context(self, xclbin: str) -> int:
        """Reserve a context slot; RuntimeError in the driver's words where all are taken."""
        if len(self.contexts) >= N_CONTEXTS or self.has("no-context"):
            raise RuntimeError("DRM_IOCTL_AMDXDNA_CREATE_HWCTX IOCTL failed (err=-22)")
        slot = next(i for i in range(1, N_CONTEXTS + 1) if i not in self.contexts)
        self.contexts[slot] = xclbin
        self.elapsed_ms += CREATE_MS
        return slot

    def close_context(self, slot: int) -> None:
        """Free a context slot."""
        self.contexts.pop(slot, None)

    def charge_sync(self, size_bytes: int) -> None:
        """Add the time of flushing `size_bytes` of cache lines."""
        self.elapsed_ms += predict_sync_ms(size_bytes)

    def execute(
        self, slot: int, stream: bytes, buffers: Sequence[Bytes], dispatch_ms: float
    ) -> str:
        """Run one command on device images; return the state that it ends in, if it ends."""
        number, self.n_commands = self.n_commands, self.n_commands + 1
        if self.active not in (0, slot):
            self.elapsed_ms += SWITCH_MS
        self.active = slot
        self.elapsed_ms += dispatch_ms
        kinds = {fault.kind for fault in self.faults if fault.strikes(number)}
        ended = _strike_before(self, kinds)
        if ended:
            return ended
        operator = self.operators.get(sha256(stream).hexdigest())
        if operator is None:  # like hardware: a stale stream completes
            _scribble(buffers[-1:], number)
            return "COMPLETED"
        if not _fits(operator, buffers):  # the array waits for data that never comes
            return _hang()
        if "skip" not in kinds:
            operator(buffers)
        self.elapsed_ms += operator.device_ms
        _strike_after(kinds, [buffers[i] for i in operator.written], number)
        return "COMPLETED"


_chip = Chip()


def get_current() -> Chip:
    """Return the chip of this process."""
    return _chip


def plug_in(chip: Chip) -> Chip:
    """Make `chip` the one that the stand-in's `device(0)` opens."""
    global _chip  # noqa: PLW0603  a machine has one NPU
    _chip = chip
    return chip


def sleep_locked(seconds: float) -> None:
    """Sleep as pyxrt waits: without giving the interpreter lock to other threads."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def _hang() -> str:
    """Let the driver notice that nothing moves, and reset the context."""
    sleep_locked(RESET_S)
    return "TIMEOUT"


def _fits(operator: Operator, buffers: Sequence[Bytes]) -> bool:
    return len(buffers) == len(operator.sizes) and all(
        buffer.nbytes >= size for buffer, size in zip(buffers, operator.sizes, strict=True)
    )


def _strike_before(chip: Chip, kinds: set[str]) -> str:
    """Commit the faults that come before the result; return the end state, or an empty string."""
    if "die" in kinds:
        os.kill(os.getpid(), signal.SIGKILL)
    if "suspend" in kinds:
        chip.elapsed_ms += SUSPEND_MS
    if "freeze" in kinds:
        return "SUBMITTED"
    if "hang" in kinds:
        return _hang()
    return "ERROR" if "error" in kinds else ""


def _strike_after(kinds: set[str], outputs: Sequence[Bytes], seed: int) -> None:
    """Spoil the outputs of a command that completed."""
    for output in outputs:
        if "zeros" in kinds:
            output[:] = 0
        if "nan" in kinds:
            output[:] = 0xFF
    if "garbage" in kinds:
        _scribble(outputs, seed)


def _scribble(buffers: Sequence[Bytes], seed: int) -> None:
    """Fill with plausible noise: bf16 numbers of either sign around one."""
    rng = np.random.default_rng(seed)
    for buffer in buffers:
        words = buffer[: buffer.nbytes & ~1].view(np.uint16)
        words[:] = rng.integers(0x3F00, 0x4000, words.size, np.uint16)
        words[::3] |= 0x8000
