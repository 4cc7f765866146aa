"""The two seams of the engines: an encoder and a decoder, as everything else sees them.

An encoder takes a mel window and returns everything that a decoder needs of it. A decoder takes
encoded windows and tokens and returns logits; it caches keys and values. An engine is one
implementation of either. It knows nothing of text or files, and its caller chooses the tokens.

A session of a decoder holds any number of rows. A row is one token sequence over one window;
several rows may share a window (beams, samples).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from whisper_npu_cli.dims import N_FRAMES, ModelDims
from whisper_npu_cli.transcript import DeviceProof


@dataclass(frozen=True)
class EncodedWindow:
    """One 30 s window after the encoder.

    The decoder's cross-attention keys and values depend on the window alone, so the encoder
    computes them (one GEMM more in the same graph), and a decoder step only reads them. They are
    f32, or bf16 held in uint16 where the device stores that.
    """

    states: NDArray[np.float32]  # (n_audio_ctx, n_audio_state), after the last LayerNorm
    cross_keys: NDArray[np.float32 | np.uint16]  # (n_text_layer, n_audio_ctx, n_text_state)
    cross_values: NDArray[np.float32 | np.uint16]  # the same; the keys are not scaled
    proof: DeviceProof | None = None  # the NPU's; None from other engines

    @classmethod
    def empty(cls, dims: ModelDims, cross_dtype: DTypeLike = np.float32) -> EncodedWindow:
        """Allocate the arrays of one window, for an engine to fill."""
        cross = dims.n_text_layer, dims.n_audio_ctx, dims.n_text_state
        states = np.empty((dims.n_audio_ctx, dims.n_audio_state), np.float32)
        return cls(states, np.empty(cross, cross_dtype), np.empty(cross, cross_dtype))

    def widen(self) -> EncodedWindow:
        """Return the window with keys and values in f32: exact."""
        if self.cross_keys.dtype == np.float32:
            return self
        keys, values = from_bf16(self.cross_keys), from_bf16(self.cross_values)
        return replace(self, cross_keys=keys, cross_values=values)


def from_bf16(values: NDArray[Any]) -> NDArray[np.float32]:
    """Widen bf16, held in uint16, to f32: exact."""
    wide = np.empty(values.shape, np.float32)
    np.left_shift(values, 16, out=wide.view(np.uint32), dtype=np.uint32)
    return wide


class Encoder(Protocol):
    """Compute encoder states and cross-attention keys and values."""

    dims: ModelDims

    @property
    def name(self) -> str:
        """Engine and precision, for example "openvino bf16"; another after a fallback."""
        ...

    @property
    def leaves_cpu(self) -> bool:
        """Whether it computes elsewhere, so that the decoder has the CPU meanwhile."""
        ...

    def encode(self, mel: NDArray[np.float32]) -> EncodedWindow:
        """Encode one window `mel` of shape (n_mels, N_FRAMES); ValueError on another shape."""
        ...

    def close(self) -> None:
        """Release the device. Calling it twice is allowed."""
        ...


@runtime_checkable
class MelEncoder(Encoder, Protocol):
    """An encoder whose device computes mel power too."""

    @property
    def mel_name(self) -> str:
        """What the timings call it; empty once the host has taken over."""
        ...

    @property
    def n_mel_frames(self) -> int:
        """Frames that it takes at a time."""
        ...

    def compute_mel_power(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mel power (n_mels, k) of the k whole frames of samples (n,)."""
        ...


@runtime_checkable
class DeviceEncoder(MelEncoder, Protocol):
    """An encoder on a device of its own, which the next windows reach while it computes."""

    def encode_each(self, mels: Sequence[NDArray[np.float32]]) -> Iterator[EncodedWindow]:
        """Yield what `encode` makes of each of `mels`, with several in flight."""
        ...


def encode_each(
    encoder: Encoder, mels: Sequence[NDArray[np.float32]]
) -> Generator[EncodedWindow, None, None]:
    """Yield each of `mels` encoded, several in flight where the encoder has a device of its own."""
    if isinstance(encoder, DeviceEncoder):
        yield from encoder.encode_each(mels)
    else:
        yield from map(encoder.encode, mels)


def check_mel(mel: NDArray[np.float32], dims: ModelDims) -> None:
    """Raise ValueError unless `mel` is one window of shape (n_mels, N_FRAMES)."""
    if mel.shape != (dims.n_mels, N_FRAMES):
        raise ValueError(f"mel has shape {mel.shape}, expected {(dims.n_mels, N_FRAMES)}")


def relative_l2(values: NDArray[np.float32], oracle: NDArray[np.float32]) -> float:
    """Return the distance of an engine's `values` from the oracle's, relative to the oracle's norm.

    Both arrays have the same shape.
    """
    return float(np.linalg.norm(values - oracle) / np.linalg.norm(oracle))


@dataclass(frozen=True)
class CrossKV:
    """A window's cross-attention keys and values as one decoder keeps them.

    Decoding needs nothing else of the encoded window, so its owner may drop that. Layout and dtype
    are the decoder's own; integers have a scale per channel, (n_text_layer, n_head, head_size).
    """

    keys: NDArray[Any]
    values: NDArray[Any]
    key_scale: NDArray[np.float32] | None = None
    value_scale: NDArray[np.float32] | None = None


class DecoderSession(Protocol):
    """Rows of tokens being decoded. At first, row i attends to window i."""

    def prefill(
        self,
        prompts: NDArray[np.int64],  # (n_rows, n_prompt), equal lengths
        logits_at: Sequence[int],  # positions in the prompt
    ) -> NDArray[np.float32]:
        """Feed the prompts; return logits (n_rows, len(logits_at), n_vocab) as a copy."""
        ...

    def step(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Feed one token a row (n_rows,); return logits (n_rows, n_vocab).

        The result is a view that the next call overwrites. Raises ValueError where the context
        of n_text_ctx positions is full.
        """
        ...

    def gather(self, rows: NDArray[np.int64]) -> None:
        """Make row i what row `rows[i]` was: rows move, repeat or go with their caches."""
        ...


class Decoder(Protocol):
    """A text decoder with its weights; a factory of sessions."""

    name: str  # shown in timings, for example "numba int8"
    dims: ModelDims

    def cross_kv(self, window: EncodedWindow) -> CrossKV:
        """Return what decoding needs of `window`. Any thread may call this."""
        ...

    def start(self, windows: Sequence[CrossKV], max_rows: int | None = None) -> DecoderSession:
        """Begin decoding `windows`; `max_rows` (default: a row a window) bounds later `gather`s.

        One session is live at a time: its caches belong to the decoder and are allocated once.
        """
        ...

    def align(
        self,
        window: CrossKV,
        tokens: NDArray[np.int64],  # (n_tokens,)
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Feed `tokens` of `window` at once; return logits and the alignment heads' weights.

        The logits are (n_tokens, n_vocab). The cross-attention weights of the heads that the
        checkpoint names are (n_heads, n_tokens, n_audio_ctx) and sum to 1 over the window. The
        call ends the live session.
        """
        ...

    def close(self) -> None:
        """Release what the decoder holds. Calling it twice is allowed."""
        ...
