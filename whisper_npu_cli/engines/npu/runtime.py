"""The device seam: overlays, buffers and lists of commands. Knows no Whisper words.

An overlay is loaded once and stays; a run list binds instruction streams to buffers once and is
then started and awaited any number of times. `xrt.py` implements the seam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.engines.npu.manifest import Overlay


class Buffer(Protocol):
    """Memory that host and device share, each through an image of its own."""

    host: NDArray[np.uint8]  # (n_bytes,) the host image; keeps the buffer alive

    def to_device(self, size_bytes: int | None = None) -> None:
        """Make the first `size_bytes` (default: all) of the host image visible to the device."""
        ...

    def to_host(self) -> None:
        """Make what the device wrote visible to the host."""
        ...


@dataclass(frozen=True)
class Command:
    """One run of the instruction stream named `stream` on `buffers`, in the stream's order."""

    stream: str
    buffers: tuple[Buffer, ...]


class RunList(Protocol):
    """Commands that the device runs in order, without the host in between."""

    n_commands: int
    n_submissions: int

    def run(self, timeout_s: float, beside: Callable[[], None] = lambda: None) -> float:
        """Run all commands, and `beside` meanwhile; return device milliseconds.

        DeviceError where a command fails. What `beside` takes longer than the device is counted.

        XRT cannot give up waiting for a run list: there the driver's reset after 2 s ends a
        hang, and whoever owns this process must hold the deadline.
        """
        ...


class Program(Protocol):
    """A loaded overlay. XRT gives its context back when nothing refers to it any more."""

    def run_list(self, commands: Sequence[Command], *, chained: bool) -> RunList:
        """Bind `commands` for repeated execution; DeviceError where XRT warns of a bank.

        `chained` ones are submitted together, where XRT can do that; others one by one.
        """
        ...


class DeviceRuntime(Protocol):
    """One opened NPU."""

    name: str  # as the driver gives it, for example "RyzenAI-npu1"
    predicted: bool  # device times come from the timing model, not from a clock

    @property
    def clock_mhz(self) -> int:
        """The array's clock; true only while an overlay is loaded."""
        ...

    def load(self, folder: Path, overlay: Overlay) -> Program:
        """Open a context for an overlay with files under `folder`; DeviceError if refused."""
        ...

    def alloc(self, size_bytes: int) -> Buffer:
        """Allocate a data buffer; its contents are undefined. DeviceError without memory."""
        ...
