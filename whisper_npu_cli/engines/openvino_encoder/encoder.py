"""The encoder on OpenVINO: the engine for CPUs and for its other devices.

A checkpoint in, encoded windows out. The graph is in `graph.py`, its compiled form on disk in
`stored.py`; here are the device, the precision and the memory of inputs and outputs. Importing
this module imports OpenVINO (0.15 s).
"""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.devices import OPENVINO
from whisper_npu_cli.engines.base import EncodedWindow, check_mel
from whisper_npu_cli.engines.openvino_encoder.graph import INT8_STEPS, Int8
from whisper_npu_cli.engines.openvino_encoder.stored import (
    CompiledEncoder,
    Target,
    load_compiled,
)
from whisper_npu_cli.environment import find_core, openvino_errors, read_cpu_features
from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.options import EngineOptions

AUTO = "AUTO"  # OpenVINO chooses among its devices


class OpenVinoEncoder:
    """Whisper's encoder, compiled by OpenVINO for one device.

    `precision` "auto" takes bf16 where the CPU computes in it, else int8 where it has instructions
    for it, else f32; other devices choose their own. "int8" leaves to bf16 or f32 what gains
    nothing from it, see `Int8`.
    `n_threads` None leaves the number of threads to OpenVINO (all cores). `device` is a name of
    `find_openvino_devices()`. `encode` is not re-entrant.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        precision: str = "auto",
        n_threads: int | None = None,
        device: str = "CPU",
    ) -> None:
        """Compile the graph; DeviceError where the device or the asked precision is missing."""
        _check_device(device)
        self.dims = checkpoint.dims
        self._device = device
        has_bf16 = "BF16" in find_core().get_property(device, "OPTIMIZATION_CAPABILITIES")
        self._int8 = choose_int8(device, precision, read_cpu_features(), has_bf16=has_bf16)
        config = _make_config(device, precision, n_threads, has_bf16=has_bf16)
        target = Target(device, config, self._int8)
        with openvino_errors(f"device {device!r} cannot take the encoder"):
            self._compiled: CompiledEncoder | None = load_compiled(checkpoint, target)
            self._request: ov.InferRequest | None = self._compiled.model.create_infer_request()
        self._note_devices(self._compiled.model)

    def encode(self, mel: NDArray[np.float32]) -> EncodedWindow:
        """Encode one window `mel` of shape (n_mels, N_FRAMES); ValueError on another shape.

        The window's arrays are its own, so it stays valid whatever is encoded after it.
        OpenVINO computes outputs in memory of its own, 38 MB for whisper-base, and copies them.
        """
        check_mel(mel, self.dims)
        if self._request is None or self._compiled is None:
            raise RuntimeError("encode() after close()")
        window = EncodedWindow.empty(self.dims)
        mel = np.ascontiguousarray(mel, np.float32)
        self._request.set_input_tensor(ov.Tensor(mel, shared_memory=True))
        outputs = (window.states, *window.cross_keys, *window.cross_values)
        for i, output in enumerate(outputs):
            self._request.set_output_tensor(i, ov.Tensor(output, shared_memory=True))
        with openvino_errors(f"device {self._device!r} failed"):
            self._request.infer()
        self._note_devices(self._compiled.model)
        return window

    def close(self) -> None:
        """Release the compiled graph."""
        self._request = self._compiled = None

    def _note_devices(self, compiled: ov.CompiledModel) -> None:
        """Set `name` and `leaves_cpu`: AUTO may change the device at any window."""
        self.name = _make_name(compiled, self._device, self._int8)
        self.leaves_cpu = not any("CPU" in name for name in _find_devices(compiled, self._device))


def load(checkpoint: Checkpoint, options: EngineOptions) -> OpenVinoEncoder:
    """Load the encoder of `--device cpu` or `openvino:NAME`."""
    device = options.device.removeprefix(OPENVINO) if options.device.startswith(OPENVINO) else "CPU"
    return OpenVinoEncoder(
        checkpoint, precision=options.precision, n_threads=options.thread_count, device=device
    )


def find_openvino_devices() -> list[str]:
    """Return the names of the devices that OpenVINO finds here, "CPU" among them."""
    return list(find_core().available_devices)


def _check_device(device: str) -> None:
    """Raise DeviceError unless `device` is here; several GPUs are named GPU.0, GPU.1, … and GPU."""
    found = [*find_openvino_devices(), AUTO]
    if device not in {*found, *(name.partition(".")[0] for name in found)}:
        raise DeviceError(
            f"OpenVINO has no device {device!r} here",
            hint=f"available: {', '.join(found)}; others may lack their driver",
        )


def choose_int8(device: str, precision: str, features: Set[str], *, has_bf16: bool) -> Int8 | None:
    """Return which products of the encoder are of int8 operands; None where none are.

    The CPU's `features` are words of /proc/cpuinfo. Attention in int8 gains 0.2 of the time where
    the rest is f32, nothing beside bf16, and loses 0.1 without VNNI, which also adds two products
    of 8 bits in 16: with the largest weights at 127 whisper-base's states were off by 0.3 of their
    deviation there, with 63 by 0.02.
    """
    has_vnni = not features.isdisjoint({"avx512_vnni", "avx_vnni"})
    is_fast = device == "CPU" and has_vnni and not has_bf16
    if precision != "int8" and not (precision == "auto" and is_fast):
        return None
    overflows = device in ("CPU", AUTO) and "avx2" in features and not has_vnni
    return Int8(INT8_STEPS // 2 if overflows else INT8_STEPS, attention=is_fast)


def _make_config(
    device: str, precision: str, n_threads: int | None, *, has_bf16: bool
) -> dict[str, str | int]:
    """Return OpenVINO's properties; DeviceError where `device` lacks the asked precision."""
    config: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY"}
    hint = _choose_precision(device, precision, has_bf16=has_bf16)
    if hint:
        config["INFERENCE_PRECISION_HINT"] = hint
    if n_threads is not None and device in ("CPU", AUTO):
        config["INFERENCE_NUM_THREADS"] = n_threads
    if device == "CPU":
        # Bound to a core that another process keeps busy, a window took 6 to 8 times as long.
        config["ENABLE_CPU_PINNING"] = False
    return config


def _choose_precision(device: str, precision: str, *, has_bf16: bool) -> str | None:
    """Return "bf16", "f32", or None for what a device other than the CPU prefers."""
    if precision in ("auto", "int8") and device != "CPU":
        return None
    # Without the instructions OpenVINO would emulate bf16, slower than f32.
    if precision == "bf16" and not has_bf16:
        raise DeviceError(
            f"OpenVINO device {device!r} does not compute in bf16", hint="use --precision f32"
        )
    return "bf16" if precision != "f32" and has_bf16 else "f32"


def _find_devices(compiled: ov.CompiledModel, device: str) -> list[str]:
    """Return the devices that compute; AUTO begins on the CPU while its choice is prepared."""
    return list(compiled.get_property("EXECUTION_DEVICES")) if device == AUTO else [device]


def _make_name(compiled: ov.CompiledModel, device: str, int8: Int8 | None) -> str:
    """Return "openvino f32", "openvino int8+bf16" where attention is in bf16, "openvino GPU f16".

    Where AUTO has taken the CPU, it is "openvino AUTO: CPU"; AUTO does not tell its precision.
    """
    if device == AUTO:
        return f"openvino {AUTO}: {', '.join(_find_devices(compiled, device))}"
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if int8:
        precision = "int8" if int8.attention else f"int8+{precision}"
    return f"openvino {precision}" if device == "CPU" else f"openvino {device} {precision}"
