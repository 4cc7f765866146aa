"""Whisper's encoder as an OpenVINO graph, made from a checkpoint's arrays.

A checkpoint in, an `openvino.Model` out: input mel (n_mels, N_FRAMES), outputs the states and,
layer by layer, the decoder's cross-attention keys and then values. All shapes are static.
It knows nothing of devices and their number formats. Importing it imports OpenVINO.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.dims import N_FRAMES, ModelDims

LAYER_NORM_EPS = 1e-5
INT8_STEPS = 127  # codes from 0 to the largest magnitude
BLOCK_BYTES = 6_000_000  # of scores; half and twice as many are 0.01 and 0.04 of the time slower
SMALLEST = np.float32(1e-30)  # least magnitude to divide by: a row may be all zeros


@dataclass(frozen=True)
class Int8:
    """Products of int8 operands: those with weights, and both of attention if `attention`.

    The largest weight of each row becomes `weight_steps`, at most INT8_STEPS.
    """

    weight_steps: int = INT8_STEPS
    attention: bool = False


def build_encoder(checkpoint: Checkpoint, int8: Int8 | None) -> ov.Model:
    """Return the encoder's graph; constants share memory with the checkpoint's fp32 arrays."""
    return _EncoderGraph(checkpoint, int8).build()


class _EncoderGraph:
    """The blocks of the encoder, applied by the Hugging Face name of their weights.

    This plain form runs at 0.89 of the rate of one large f32 GEMM (whisper-base, Zen 3), at 0.95
    in CPU time on one thread. One GEMM for query, key and value (0.88, 0.92), convolutions as
    GEMMs (0.90) and GELU apart from its GEMM (0.95 in CPU time) were no faster.
    """

    def __init__(self, checkpoint: Checkpoint, int8: Int8 | None) -> None:
        self._checkpoint = checkpoint
        self._dims = checkpoint.dims
        self._int8 = int8

    def build(self) -> ov.Model:
        mel = ops.parameter([self._dims.n_mels, N_FRAMES], np.float32, name="mel")
        x = self._stem(mel)
        for i in range(self._dims.n_audio_layer):
            layer = f"model.encoder.layers.{i}"
            normal = self._layer_norm(f"{layer}.self_attn_layer_norm", x)
            x = ops.add(x, self._attention(f"{layer}.self_attn", normal))
            normal = self._layer_norm(f"{layer}.final_layer_norm", x)
            hidden = ops.gelu(self._linear(f"{layer}.fc1", normal), "erf")
            x = ops.add(x, self._linear(f"{layer}.fc2", hidden))
        states = self._layer_norm("model.encoder.layer_norm", x)
        cross = [
            self._linear(f"model.decoder.layers.{i}.encoder_attn.{projection}", states)
            for projection in ("k_proj", "v_proj")
            for i in range(self._dims.n_text_layer)
        ]
        return ov.Model([states, *cross], [mel], "whisper_encoder")

    def _stem(self, mel: ov.Node) -> ov.Node:
        """Return both convolutions of `mel` (n_mels, N_FRAMES), plus the positions."""
        x = ops.unsqueeze(mel, _ints(0))  # (1, n_mels, N_FRAMES)
        for name, stride in (("conv1", 1), ("conv2", 2)):
            weight = self._constant(f"model.encoder.{name}.weight")
            x = ops.convolution(x, weight, [stride], [1], [1], [1])
            bias = self._constant(f"model.encoder.{name}.bias")
            x = ops.gelu(ops.add(x, ops.unsqueeze(bias, _ints(1))), "erf")
        x = ops.transpose(ops.squeeze(x, _ints(0)), _ints(1, 0))  # (n_audio_ctx, n_audio_state)
        return ops.add(x, self._constant("model.encoder.embed_positions.weight"))

    def _attention(self, name: str, x: ov.Node) -> ov.Node:
        """Return self-attention of `x` (n_audio_ctx, n_audio_state)."""
        dims = self._dims
        q, k, v = (
            self._split_heads(self._linear(f"{name}.{projection}", x))
            for projection in ("q_proj", "k_proj", "v_proj")
        )
        mixed = (
            self._mix_int8(q, k, v) if self._int8 and self._int8.attention else self._mix(q, k, v)
        )
        merged = ops.reshape(
            ops.transpose(mixed, _ints(1, 0, 2)), _ints(dims.n_audio_ctx, dims.n_audio_state), False
        )
        return self._linear(f"{name}.out_proj", merged)

    def _mix(self, q: ov.Node, k: ov.Node, v: ov.Node) -> ov.Node:
        """Return softmax(q k^T) v, all (n_audio_head, n_audio_ctx, head_size).

        Written as matmul, softmax, matmul: in bf16 on Zen 4 whisper-base takes 235 ms this
        way, and 262 ms with OpenVINO's fused operator; in f32 on Zen 3 both are equal. The scale is
        applied to the queries, which are 1/23 of the scores' size.
        """
        scale = ops.constant(np.float32(self._dims.head_size**-0.5))
        scores = ops.matmul(ops.multiply(q, scale), k, False, True)
        return ops.matmul(ops.softmax(scores, -1), v, False, False)

    def _mix_int8(self, q: ov.Node, k: ov.Node, v: ov.Node) -> ov.Node:
        """Do as `_mix` with int8 operands.

        Queries have a scale a row, keys a scale a head, values one a channel. What multiplies the
        values is exp(score - highest score), which reaches 1 in every row and is divided by its
        sum afterwards; probabilities are far below 1/255, most of them, and put whisper-base's
        states off by 0.25 of their deviation instead of 0.03.

        The passes between the products are cheap where the scores stay in the caches, so a block
        of queries goes through all of them. On Zen 4 with VNNI, and fp32 in place of its bf16, the
        encoder took 0.61 of fp32's time with attention in fp32, 0.56 with all queries together, and
        0.43 so. Where the rest is in bf16 it gains nothing (0.78 and 0.79 of bf16's time).
        """
        dims = self._dims
        rows, row_scale = _quantize(q, -1)
        keys, key_scale = _quantize(k, -1, -2)
        values, value_scale = _quantize(v, -2)
        scale = ops.multiply(
            ops.multiply(row_scale, key_scale), ops.constant(np.float32(dims.head_size**-0.5))
        )
        n_block = _choose_block(dims)
        blocks = []
        for first in range(0, dims.n_audio_ctx, n_block):
            bounds = _ints(first), _ints(first + n_block), _ints(1), _ints(1)
            scores = ops.matmul(ops.slice(rows, *bounds), keys, False, True)
            below = ops.subtract(scores, ops.reduce_max(scores, _ints(-1), True))
            weights = ops.exp(ops.multiply(below, ops.slice(scale, *bounds)))
            total = ops.reduce_sum(weights, _ints(-1), True)
            zero, one = ops.constant(np.float32(0)), ops.constant(np.float32(1))
            codes = ops.fake_quantize(weights, zero, one, zero, one, 256)
            mixed = ops.matmul(codes, values, False, False)
            blocks.append(ops.multiply(mixed, ops.divide(value_scale, total)))
        return ops.concat(blocks, 1)

    def _split_heads(self, x: ov.Node) -> ov.Node:
        """Return `x` (n_audio_ctx, n_audio_state) as (n_audio_head, n_audio_ctx, head_size)."""
        dims = self._dims
        shape = _ints(dims.n_audio_ctx, dims.n_audio_head, dims.head_size)
        return ops.transpose(ops.reshape(x, shape, False), _ints(1, 0, 2))

    def _linear(self, name: str, x: ov.Node) -> ov.Node:
        """Return x W^T + b; Whisper's key projections have no b."""
        if self._int8 is None:
            product = ops.matmul(x, self._constant(f"{name}.weight"), False, True)
        else:
            weight = self._checkpoint.array(f"{name}.weight")
            product = _multiply_int8(x, weight, self._int8.weight_steps)
        if name.endswith(".k_proj"):
            return product
        return ops.add(product, self._constant(f"{name}.bias"))

    def _layer_norm(self, name: str, x: ov.Node) -> ov.Node:
        normal = ops.mvn(x, _ints(-1), True, LAYER_NORM_EPS, "INSIDE_SQRT")
        scaled = ops.multiply(normal, self._constant(f"{name}.weight"))
        return ops.add(scaled, self._constant(f"{name}.bias"))

    def _constant(self, name: str) -> ov.Node:
        return ops.constant(self._checkpoint.array(name), shared_memory=True)


def _multiply_int8(x: ov.Node, weight: NDArray[np.float32], n_steps: int) -> ov.Node:
    """Return x W^T of int8 operands, for x (n, n_in) and W (n_out, n_in).

    Every row of x and of W has a scale of its own, as in CTranslate2. The scales of x are computed
    at run time, so no range has to be learned from recordings. Ranges learned from 31 s of speech
    (SmoothQuant, 0.5) put whisper-base's states off by 0.012 to 0.025 of their deviation, on
    average and depending on the recording; these put them off by 0.012 to 0.014.
    """
    rows, largest = _quantize(x, -1)
    scale = np.maximum(np.abs(weight).max(1, keepdims=True), SMALLEST) / np.float32(n_steps)
    codes = ops.convert(ops.constant(np.rint(weight / scale).astype(np.int8)), np.float32)
    weights = ops.multiply(codes, ops.constant(scale))
    return ops.multiply(ops.matmul(rows, weights, False, True), largest)


def _quantize(x: ov.Node, *axes: int) -> tuple[ov.Node, ov.Node]:
    """Return x divided by its largest magnitude along `axes`, in int8, and that magnitude.

    OpenVINO's devices recognise an int8 operand by a FakeQuantize of 255 levels and constant
    range; a scale that is not constant has to stay outside of it.
    """
    largest = ops.maximum(ops.reduce_max(ops.abs(x), _ints(*axes), True), ops.constant(SMALLEST))
    low, high = ops.constant(np.float32(-1)), ops.constant(np.float32(1))
    bounds = low, high, low, high
    return ops.fake_quantize(ops.divide(x, largest), *bounds, 2 * INT8_STEPS + 1), largest


def _choose_block(dims: ModelDims) -> int:
    """Return the number of queries whose scores are at most BLOCK_BYTES; it divides n_audio_ctx."""
    n_most = max(1, BLOCK_BYTES // (4 * dims.n_audio_head * dims.n_audio_ctx))
    return max(n for n in range(1, n_most + 1) if dims.n_audio_ctx % n == 0)


def _ints(*values: int) -> ov.Node:
    """Return a shape, axis or permutation as the constant that operators expect."""
    array: NDArray[np.int64] = np.array(values, np.int64)
    return ops.constant(array)
