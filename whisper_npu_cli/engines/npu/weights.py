"""The encoder's weights as the NPU reads them: folded, padded, rounded to bf16, in block order.

LayerNorm's scale and shift go into the weights and bias that follow it, and the attention's scale
into the queries', so that the device computes neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import e, log2, sqrt

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.mel import HANN, mel_filters
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.dims import N_FFT
from whisper_npu_cli.engines.base import from_bf16
from whisper_npu_cli.engines.npu.layout import (
    pack_c,
    pack_weights,
    pad,
    round_up,
    split_bf16,
    to_bf16,
)
from whisper_npu_cli.engines.npu.plan import BASIS, CONV_TAPS, FILTERS, CrossSlice, Plan
from whisper_npu_cli.engines.npu.spec import HALF, PASS, SPLITS, TILE, Argument

F32 = NDArray[np.float32]
Indices = NDArray[np.int64]
NO_BIAS = np.zeros(0, np.float32)
Linear = tuple[F32, F32]  # (k, n) and (n,)


def pack_encoder(plan: Plan, checkpoint: Checkpoint) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield name and bytes of every buffer that stays resident, one after the other."""
    arguments = plan.buffers
    yield BASIS, _pack((make_basis(arguments[BASIS]), NO_BIAS), arguments[BASIS])
    filters = make_filters(plan.dims.n_mels, arguments[FILTERS].shape[1] // 2)
    yield FILTERS, _pack((filters, NO_BIAS), arguments[FILTERS])
    positions = checkpoint.array("model.encoder.embed_positions.weight")
    yield "positions", _view_bytes(pack_c(pad(positions, *arguments["positions"].shape)))
    yield "conv1.weights", _pack_conv1(checkpoint, arguments["conv1.weights"])
    yield "conv2.weights", _pack_conv2(checkpoint, arguments["conv2.weights"])
    for index in range(plan.dims.n_audio_layer):
        for name, linear in _fold_layer(checkpoint, index):
            yield name, _pack(linear, arguments[name])
    for part in plan.cross:
        name = f"{part.buffer}.weights"
        yield name, _pack(_fold_cross(checkpoint, part), arguments[name])


def make_basis(argument: Argument) -> F32:
    """Return the windowed Fourier basis as the weights of `spectrum`, high and low parts of it.

    For each 32 samples the high parts twice, then the low parts, as the two parts of a sample are
    multiplied by both; for each 32 frequencies the cosines, then the sines.
    """
    n_samples, n_bins = (argument.shape[0] - TILE) // SPLITS, argument.shape[1] // 2
    angles = 2 * np.pi / N_FFT * np.outer(np.arange(N_FFT), np.arange(N_FFT // 2 + 1))
    basis = np.zeros((n_samples, 2, n_bins), np.float32)
    for part, wave in enumerate((np.cos(angles), np.sin(angles))):
        basis[:N_FFT, part, : wave.shape[1]] = wave * HANN[:, None]
    columns = basis.reshape(n_samples, 2, -1, HALF).swapaxes(1, 2).reshape(-1, HALF, 2 * n_bins)
    high, low = map(from_bf16, split_bf16(columns))
    return np.concatenate([high, high, low, low], axis=1).reshape(-1, 2 * n_bins)


def make_filters(n_mels: int, n: int) -> F32:
    """Return the filters as weights (k, 2 * n) of 32 high and 32 low parts of power in turn.

    Column j has the high parts of filter j, column n + j the low ones.
    """
    filters = mel_filters(n_mels).T
    padded = pad(filters, round_up(len(filters), HALF), n)
    rows = np.hstack([from_bf16(part) for part in split_bf16(padded)]).reshape(-1, HALF, 2 * n)
    return np.concatenate([rows, rows], axis=1).reshape(-1, 2 * n)


def _pack_conv1(checkpoint: Checkpoint, argument: Argument) -> NDArray[np.uint8]:
    """Pack (state, n_mels, taps) as (taps * n_mels, state), with the bias below for the ones."""
    kernel = checkpoint.array("model.encoder.conv1.weight")
    rows = kernel.transpose(2, 1, 0).reshape(-1, len(kernel))
    bias = np.stack(split_bf16(checkpoint.array("model.encoder.conv1.bias")))
    k, n = argument.shape[0] - TILE, argument.shape[1]
    weights = pad(np.concatenate([to_bf16(rows), bias]), k, n)
    return _view_bytes(pack_weights(weights, np.zeros(n, np.float32)))


def _pack_conv2(checkpoint: Checkpoint, argument: Argument) -> NDArray[np.uint8]:
    """Pack (state, state, taps) tap by tap, each (padded state, state)."""
    kernel = checkpoint.array("model.encoder.conv2.weight")
    k, n = (argument.shape[0] - TILE) // CONV_TAPS, argument.shape[1]
    taps = [pad(np.ascontiguousarray(kernel[:, :, tap].T), k, n) for tap in range(CONV_TAPS)]
    return _pack((np.concatenate(taps), checkpoint.array("model.encoder.conv2.bias")), argument)


def _fold_layer(checkpoint: Checkpoint, index: int) -> Iterator[tuple[str, Linear]]:
    dims = checkpoint.dims
    source, name = f"model.encoder.layers.{index}", f"layers.{index}"
    heads = _place_heads(dims.n_audio_head, dims.head_size)
    norm = f"{source}.self_attn_layer_norm"
    scale = log2(e) / sqrt(dims.head_size)  # the overlay's softmax takes powers of two
    width = round_up(dims.n_audio_head * TILE, PASS)
    thirds = []
    for projection, factor in (("q", scale), ("k", 1), ("v", 1)):
        linear = _fold_norm(checkpoint, f"{source}.self_attn.{projection}_proj", norm)
        weights, bias = (array * np.float32(factor) for array in linear)
        spread = _spread(weights, heads, 1), _spread(bias, heads, 0)[None]
        thirds.append([pad(array, len(array), width) for array in spread])
    yield (
        f"{name}.qkv.weights",
        (np.hstack([w for w, _ in thirds]), np.hstack([b for _, b in thirds])[0]),
    )
    weights, bias = _read_linear(checkpoint, f"{source}.self_attn.out_proj")
    yield f"{name}.attn_out.weights", (_spread(weights, heads, 0), bias)
    yield (
        f"{name}.fc1.weights",
        _fold_norm(checkpoint, f"{source}.fc1", f"{source}.final_layer_norm"),
    )
    yield f"{name}.fc2.weights", _read_linear(checkpoint, f"{source}.fc2")


def _fold_cross(checkpoint: Checkpoint, part: CrossSlice) -> Linear:
    """Return the products for keys and values of a slice of decoder layers, side by side."""
    linears = [
        _fold_norm(
            checkpoint,
            f"model.decoder.layers.{layer}.encoder_attn.{projection}_proj",
            "model.encoder.layer_norm",
        )
        for layer in part.layers
        for projection in "kv"
    ]
    weights, biases = zip(*linears, strict=True)
    return np.concatenate(weights, axis=1), np.concatenate(biases)


def _read_linear(checkpoint: Checkpoint, name: str) -> Linear:
    """Return weights (k, n) and bias (n,); the key projections have none."""
    weights = checkpoint.array(f"{name}.weight").T
    if name.endswith("k_proj"):
        return weights, np.zeros(weights.shape[1], np.float32)
    return weights, checkpoint.array(f"{name}.bias")


def _fold_norm(checkpoint: Checkpoint, name: str, norm: str) -> Linear:
    """Fold the scale and shift of LayerNorm `norm` into the linear layer `name` behind it."""
    weights, bias = _read_linear(checkpoint, name)
    scale, shift = checkpoint.array(f"{norm}.weight"), checkpoint.array(f"{norm}.bias")
    return weights * scale[:, None], bias + shift @ weights


def _place_heads(n_heads: int, head_size: int) -> Indices:
    """Return where each column of the heads goes: every head begins a tile."""
    return (np.arange(n_heads)[:, None] * TILE + np.arange(head_size)).reshape(-1)


def _spread(array: F32, places: Indices, axis: int) -> F32:
    """Move the slices along `axis` to `places`, with zeros between."""
    shape = list(array.shape)
    shape[axis] = int(places[-1]) + 1
    spread = np.zeros(shape, np.float32)
    np.moveaxis(spread, axis, 0)[places] = np.moveaxis(array, axis, 0)
    return spread


def _pack(linear: Linear, argument: Argument) -> NDArray[np.uint8]:
    weights, bias = linear
    k, n = argument.shape[0] - TILE, argument.shape[1]
    padded_bias = np.zeros(n, np.float32)
    padded_bias[: len(bias)] = bias
    return _view_bytes(pack_weights(pad(to_bf16(weights), k, n), padded_bias))


def _view_bytes(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)
