"""The table of engines: what `--device` may name, what each is, and who loads it.

Adding an engine is one file and one row here (`docs/engines.md`). A row names its loaders as
"module:function", which are imported when the engine is chosen: reading the table costs nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from threading import current_thread, main_thread
from typing import Any

from whisper_npu_cli.errors import UsageError, suggest

_NUMBA = "whisper_npu_cli.engines.numba_decoder"
_REFERENCE = "whisper_npu_cli.engines.reference"
_OPENVINO = "whisper_npu_cli.engines.openvino_encoder.encoder"
_NPU = "whisper_npu_cli.engines.npu"


@dataclass(frozen=True)
class Device:
    """A row of the table. A name that ends with ":" stands for every name that begins with it."""

    name: str
    summary: str  # for the help
    options: frozenset[str]  # the fields of EngineOptions that have an effect on it
    encoder: str  # load(checkpoint, options) -> Encoder; DeviceError where it cannot be used here
    decoder: str = f"{_NUMBA}.decoder:load"  # load(checkpoint, options) -> Decoder
    kernels: str = f"{_NUMBA}.decoder:list_kernels"  # list_kernels(options), for numba to compile
    checks: str = ""  # checks(machine, xclbins, dims) -> Iterator[Check], for the doctor

    def takes(self, name: str) -> bool:
        """Return whether this is the row of the device `name`."""
        return name.startswith(self.name) if self.name.endswith(":") else name == self.name


OPENVINO = "openvino:"

# `auto` takes the first of these that works, and goes on with the next where it fails.
AUTO = "auto"
AUTO_ORDER = ("npu", "cpu")

_DECODER = frozenset({"cross_kv", "n_threads"})  # what has an effect on numba's decoder

DEVICES = [
    Device(
        "npu",
        "AMD's XDNA1 array",
        _DECODER | {"mel", "xclbins"},
        encoder=f"{_NPU}.loading:load_npu",
        kernels=f"{_NUMBA}.decoder:list_kernels_bf16",
        checks=f"{_NPU}.checks:npu_checks",
    ),
    Device(
        "cpu", "OpenVINO on this processor", _DECODER | {"precision"}, encoder=f"{_OPENVINO}:load"
    ),
    Device(
        "reference",
        "NumPy, slow and exact",
        frozenset(),
        encoder=f"{_REFERENCE}:load_encoder",
        kernels=f"{_NUMBA}.logits:list_kernels",
        decoder=f"{_REFERENCE}:load_decoder",
    ),
    Device(
        "sim",
        "the NPU's engine on a simulated chip",
        _DECODER | {"mel", "exact"},
        encoder=f"{_NPU}.loading:load_standin",
        kernels=f"{_NUMBA}.decoder:list_kernels_bf16",
    ),
    Device(
        OPENVINO,
        "what else OpenVINO drives: Intel's GPU, NPU, or AUTO",
        _DECODER | {"precision"},
        encoder=f"{_OPENVINO}:load",
    ),
]


def find_device(name: str) -> Device:
    """Return the row of the device `name`; UsageError where there is none."""
    for device in DEVICES:
        if device.takes(name):
            return device
    hint = f"{suggest(name, list_devices())}one of {', '.join(list_devices())}"
    raise UsageError(f"unknown device {name!r}", hint=hint)


def list_effective_options(name: str) -> frozenset[str]:
    """Return the fields of EngineOptions that have an effect on the device `name`."""
    if name == AUTO:
        return frozenset().union(*(find_device(one).options for one in AUTO_ORDER))
    return find_device(name).options


def list_devices() -> list[str]:
    """Return what `--device` may name."""
    return [AUTO, *(d.name + "NAME" if d.name.endswith(":") else d.name for d in DEVICES)]


def describe_devices() -> str:
    """Return the table as one sentence of help."""
    first = f"{AUTO} (the first of {' and '.join(AUTO_ORDER)} that works)"
    summaries = [device.summary for device in DEVICES]
    rows = zip(list_devices()[1:], summaries, strict=True)
    return ", ".join([first, *(f"{name} ({summary})" for name, summary in rows)])


def import_target(target: str) -> Any:
    """Import and return what "module:name" names; Ctrl-C waits meanwhile."""
    module, _, name = target.partition(":")
    with _hold_interrupts():
        return getattr(import_module(module), name)


@contextmanager
def _hold_interrupts() -> Iterator[None]:
    """Let Ctrl-C wait: OpenVINO's import makes an ImportError of it, and may leave it out."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or current_thread() is not main_thread():  # Python interrupts no other
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)
