"""The encoder on OpenVINO: the engine for CPUs, and for what else OpenVINO drives.

A checkpoint in, encoded windows out. The graph is in `graph.py`; here are the device, the
precision and the memory of inputs and outputs. Importing this module imports OpenVINO (0.15 s).
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from whisper_npu_cli.encoder.base import EncodedWindow, check_mel
from whisper_npu_cli.encoder.graph import build_encoder
from whisper_npu_cli.errors import DeviceError, UsageError
from whisper_npu_cli.weights import Checkpoint

PRECISIONS = ("auto", "bf16", "f32")


class OpenVinoEncoder:
    """Whisper's encoder, compiled by OpenVINO for one device.

    `precision` "auto" takes bf16 where the device computes in it, else f32. `n_threads` None
    leaves the number of threads to OpenVINO (all cores). `encode` is not re-entrant.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        precision: str = "auto",
        n_threads: int | None = None,
        device: str = "CPU",
    ) -> None:
        """Compile the graph; DeviceError where the device or the asked precision is not there."""
        core = ov.Core()
        self.dims = checkpoint.dims
        hint = _choose_precision(core, device, precision)
        self.name = f"openvino {hint}"
        self.leaves_cpu = device != "CPU"
        config: dict[str, str | int] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": hint,
        }
        if n_threads is not None:
            config["INFERENCE_NUM_THREADS"] = n_threads
        compiled = core.compile_model(build_encoder(checkpoint), device, config)
        self._request: ov.InferRequest | None = compiled.create_infer_request()

    def encode(self, mel: NDArray[np.float32]) -> EncodedWindow:
        """Encode one window `mel` of shape (n_mels, N_FRAMES); ValueError on another shape.

        OpenVINO writes into arrays made for this window, so nothing is copied and a window
        stays valid whatever is encoded after it.
        """
        check_mel(mel, self.dims)
        if self._request is None:
            raise RuntimeError("encode() after close()")
        window = self._empty_window()
        mel = np.ascontiguousarray(mel, np.float32)
        self._request.set_input_tensor(ov.Tensor(mel, shared_memory=True))
        outputs = (window.states, *window.cross_keys, *window.cross_values)
        for i, output in enumerate(outputs):
            self._request.set_output_tensor(i, ov.Tensor(output, shared_memory=True))
        self._request.infer()
        return window

    def close(self) -> None:
        """Release the compiled graph."""
        self._request = None

    def __enter__(self) -> OpenVinoEncoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _empty_window(self) -> EncodedWindow:
        dims = self.dims
        cross = (dims.n_text_layer, dims.n_audio_ctx, dims.n_text_state)
        return EncodedWindow(
            states=np.empty((dims.n_audio_ctx, dims.n_audio_state), np.float32),
            cross_keys=np.empty(cross, np.float32),
            cross_values=np.empty(cross, np.float32),
        )


def _choose_precision(core: ov.Core, device: str, precision: str) -> str:
    """Return "bf16" or "f32"; DeviceError where `device` is absent or lacks what is asked."""
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}", hint=f"one of {', '.join(PRECISIONS)}")
    try:
        capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    except RuntimeError as error:
        found = ", ".join(core.available_devices)
        raise DeviceError(
            f"OpenVINO has no device {device!r} here", hint=f"available: {found}"
        ) from error
    # Without the instructions OpenVINO would emulate bf16, slower than f32.
    if precision == "bf16" and "BF16" not in capabilities:
        raise DeviceError(
            f"OpenVINO device {device!r} does not compute in bf16", hint="use --precision f32"
        )
    return "bf16" if precision != "f32" and "BF16" in capabilities else "f32"
