"""The encoder seam: a mel window in, everything that the decoder needs of it out.

An engine is one implementation. It knows nothing of tokens, text or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.dims import N_FRAMES, ModelDims


@dataclass(frozen=True)
class DeviceProof:
    """Evidence that a device computed a window: it is written into the JSON."""

    device: str  # as its driver names it
    overlay_sha256: str
    n_submissions: int  # run lists
    n_commands: int
    device_ms: float
    predicted: bool  # device_ms comes from the timing model
    host_ms: float  # processor time beside the run lists: measured, whatever else runs here


@dataclass(frozen=True)
class EncodedWindow:
    """One 30 s window after the encoder.

    The decoder's cross-attention keys and values depend on the window alone, so the encoder
    computes them (one GEMM more in the same graph), and a decoder step only reads them.
    """

    states: NDArray[np.float32]  # (n_audio_ctx, n_audio_state), after the last LayerNorm
    cross_keys: NDArray[np.float32]  # (n_text_layer, n_audio_ctx, n_text_state), not scaled
    cross_values: NDArray[np.float32]  # (n_text_layer, n_audio_ctx, n_text_state), bias added
    proof: DeviceProof | None = None  # None: the CPU computed it

    @classmethod
    def empty(cls, dims: ModelDims) -> EncodedWindow:
        """Allocate the arrays of one window, for an engine to fill."""
        cross = dims.n_text_layer, dims.n_audio_ctx, dims.n_text_state
        states = np.empty((dims.n_audio_ctx, dims.n_audio_state), np.float32)
        return cls(states, np.empty(cross, np.float32), np.empty(cross, np.float32))


class Encoder(Protocol):
    """Compute encoder states and cross-attention keys and values; a context manager."""

    dims: ModelDims

    @property
    def name(self) -> str:
        """Shown in timings, for example "openvino bf16"; may change where an engine gives up."""
        ...

    @property
    def leaves_cpu(self) -> bool:
        """Whether it computes elsewhere: then the decoder has the CPU while a window is encoded."""
        ...

    def encode(self, mel: NDArray[np.float32]) -> EncodedWindow:
        """Encode one window `mel` of shape (n_mels, N_FRAMES); ValueError on another shape."""
        ...

    def close(self) -> None:
        """Release the device. Calling it twice is allowed."""
        ...


def check_mel(mel: NDArray[np.float32], dims: ModelDims) -> None:
    """Raise ValueError unless `mel` is one window of shape (n_mels, N_FRAMES)."""
    if mel.shape != (dims.n_mels, N_FRAMES):
        raise ValueError(f"mel has shape {mel.shape}, expected {(dims.n_mels, N_FRAMES)}")
