"""fp32 to int8: the decoder's weights, one tensor at a time.

Symmetric, one scale per row (one output of a product): the scale stays outside the inner loop,
and a row with large weights costs the others no precision. Biases, norms and positions stay
fp32: they are under 1 % of the weights.

The vocabulary has a scale per column too. In OpenAI's tiny.en one column holds the largest weight
of 96 % of its rows, and would leave a few codes to all others. The scales are part of the norm
before, so they cost a step nothing. With them the gap between the two likeliest tokens is off by
0.062 instead of 0.128 (root mean square, natural logarithm). In the layers' products they gain
nothing, or lose: the activations are largest where their weights are smallest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.engines.numba_decoder.arrays import Linear, Norm, Weights
from whisper_npu_cli.engines.numba_decoder.packing import LANES, MAX_CODE, MAX_SUM, pack

F32Array = NDArray[np.float32]
DECODER = "model.decoder"
ROWS_AT_ONCE = 1024  # temporaries of 5 MB at large's width, where the vocabulary is 265 MB


def quantize_rows(weight: F32Array) -> tuple[NDArray[np.int8], F32Array]:
    """Return int8 codes (n_out, n_in) and scales (n_out,), so that codes * scale = weight.

    Rounded to nearest: no weight is off by more than half its row's scale.
    """
    largest = np.abs(weight).max(axis=1)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1))
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def quantize_decoder(checkpoint: Checkpoint) -> Weights:
    """Return a checkpoint's decoder with int8 weights."""
    layers = [f"{DECODER}.layers.{i}" for i in range(checkpoint.dims.n_text_layer)]

    def linear(*projections: str) -> Linear:
        return _quantize_linear(
            checkpoint, [[f"{layer}.{name}" for name in projections] for layer in layers]
        )

    def norm(name: str) -> Norm:
        return _stack_norm(checkpoint, [f"{layer}.{name}" for layer in layers])

    columns = find_columns(checkpoint.array(f"{DECODER}.embed_tokens.weight"))
    final = _stack_norm(checkpoint, [f"{DECODER}.layer_norm"])
    return Weights(
        vocabulary=_quantize_linear(checkpoint, [[f"{DECODER}.embed_tokens"]], columns),
        columns=columns,
        positions=np.array(checkpoint.array(f"{DECODER}.embed_positions.weight")),
        self_norm=norm("self_attn_layer_norm"),
        self_qkv=linear("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        self_out=linear("self_attn.out_proj"),
        cross_norm=norm("encoder_attn_layer_norm"),
        cross_q=linear("encoder_attn.q_proj"),
        cross_out=linear("encoder_attn.out_proj"),
        mlp_norm=norm("final_layer_norm"),
        fc1=linear("fc1")._replace(with_gelu=True),
        fc2=linear("fc2"),
        final_norm=Norm(final.gain * columns, final.bias * columns),
    )


def find_columns(weight: F32Array) -> F32Array:
    """Return the largest magnitude of each column (n_in,) of `weight`, 1 for a column of zeros."""
    largest = np.maximum(weight.max(axis=0), -weight.min(axis=0))
    return np.where(largest > 0, largest, np.float32(1))


def _quantize_linear(
    checkpoint: Checkpoint, layers: Sequence[Sequence[str]], columns: F32Array | float = 1.0
) -> Linear:
    """Quantise one product of all layers; a layer's tensors are put below one another.

    `columns` are scales (n_in,) that the input of the product has already.
    """
    n_out, n_in = checkpoint.array(f"{layers[0][0]}.weight").shape
    shape = len(layers), n_out * len(layers[0])
    n_blocks = -(-shape[1] // LANES)
    product = Linear(
        weight=np.empty((len(layers), n_blocks, n_in // 2, 2 * LANES), np.int8),
        scale=np.empty(shape, np.float32),
        bias=np.zeros(shape, np.float32),
        limit=np.empty(len(layers), np.float32),
    )
    for layer, names in enumerate(layers):
        largest_sum = 1
        for part, name in enumerate(names):
            weight = checkpoint.array(f"{name}.weight")
            for first in range(0, n_out, ROWS_AT_ONCE):
                codes, scale = quantize_rows(weight[first : first + ROWS_AT_ONCE] / columns)
                start = part * n_out + first
                product.scale[layer, start : start + len(codes)] = scale
                packed = pack(codes)
                block = start // LANES
                product.weight[layer, block : block + len(packed)] = packed
                largest_sum = max(largest_sum, find_largest_sum(codes))
            rows = slice(part * n_out, (part + 1) * n_out)
            if f"{name}.bias" in checkpoint.tensors:  # keys and the vocabulary have none
                product.bias[layer, rows] = checkpoint.array(f"{name}.bias")
            if name.endswith("q_proj"):
                # Attention's 1 / sqrt(head_size), which is exact for heads of 64
                product.scale[layer, rows] *= checkpoint.dims.text_head_size**-0.5
                product.bias[layer, rows] *= checkpoint.dims.text_head_size**-0.5
        product.limit[layer] = min(MAX_CODE, MAX_SUM // largest_sum)
    return product


def find_largest_sum(codes: NDArray[np.int8]) -> int:
    """Return the largest sum of magnitudes of a row of `codes` (n_out, n_in)."""
    return int(np.abs(codes).sum(axis=1, dtype=np.int64).max())


def _stack_norm(checkpoint: Checkpoint, names: Sequence[str]) -> Norm:
    return Norm(
        gain=np.stack([checkpoint.array(f"{name}.weight") for name in names]),
        bias=np.stack([checkpoint.array(f"{name}.bias") for name in names]),
    )
