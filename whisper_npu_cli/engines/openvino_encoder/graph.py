"""Whisper's encoder as an OpenVINO graph, made from a checkpoint's arrays.

A checkpoint in, an `openvino.Model` out: input mel (n_mels, N_FRAMES), outputs the states and,
layer by layer, the decoder's cross-attention keys and then values. All shapes are static.
It knows nothing of devices and their number formats. Importing it imports OpenVINO.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.dims import N_FRAMES

LAYER_NORM_EPS = 1e-5
INT8_STEPS = 127  # codes from 0 to the largest magnitude
SMALLEST = np.float32(1e-30)  # least magnitude to divide by: a row may be all zeros


def build_encoder(checkpoint: Checkpoint, int8_steps: int | None) -> ov.Model:
    """Return the encoder's graph; constants share memory with the checkpoint's fp32 arrays.

    With `int8_steps`, products with weights are of int8 operands: the largest weight of each row
    becomes `int8_steps`, at most INT8_STEPS.
    """
    return _EncoderGraph(checkpoint, int8_steps).build()


class _EncoderGraph:
    """The blocks of the encoder, applied by the Hugging Face name of their weights.

    This plain form runs at 0.89 of the rate of one large f32 GEMM (whisper-base, Zen 3), at 0.95
    in CPU time on one thread. One GEMM for query, key and value (0.88, 0.92), convolutions as
    GEMMs (0.90) and GELU apart from its GEMM (0.95 in CPU time) were no faster.
    """

    def __init__(self, checkpoint: Checkpoint, int8_steps: int | None) -> None:
        self._checkpoint = checkpoint
        self._dims = checkpoint.dims
        self._int8_steps = int8_steps

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
        """Return self-attention of `x` (n_audio_ctx, n_audio_state).

        Written as matmul, softmax, matmul: in bf16 on Zen 4 whisper-base takes 235 ms this
        way, and 262 ms with OpenVINO's fused operator; in f32 on Zen 3 both are equal. The scale is
        applied to the queries, which are 1/23 of the scores' size.
        """
        dims = self._dims
        scale = ops.constant(np.float32(dims.head_size**-0.5))
        q = self._split_heads(ops.multiply(self._linear(f"{name}.q_proj", x), scale))
        k = self._split_heads(self._linear(f"{name}.k_proj", x))
        v = self._split_heads(self._linear(f"{name}.v_proj", x))
        scores = ops.matmul(q, k, False, True)  # (n_audio_head, n_audio_ctx, n_audio_ctx)
        mixed = ops.transpose(ops.matmul(ops.softmax(scores, -1), v, False, False), _ints(1, 0, 2))
        merged = ops.reshape(mixed, _ints(dims.n_audio_ctx, dims.n_audio_state), False)
        return self._linear(f"{name}.out_proj", merged)

    def _split_heads(self, x: ov.Node) -> ov.Node:
        """Return `x` (n_audio_ctx, n_audio_state) as (n_audio_head, n_audio_ctx, head_size)."""
        dims = self._dims
        shape = _ints(dims.n_audio_ctx, dims.n_audio_head, dims.head_size)
        return ops.transpose(ops.reshape(x, shape, False), _ints(1, 0, 2))

    def _linear(self, name: str, x: ov.Node) -> ov.Node:
        """Return x W^T + b; Whisper's key projections have no b."""
        if self._int8_steps is None:
            product = ops.matmul(x, self._constant(f"{name}.weight"), False, True)
        else:
            product = _multiply_int8(x, self._checkpoint.array(f"{name}.weight"), self._int8_steps)
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

    OpenVINO's devices recognise an int8 operand by the FakeQuantize of rows that were divided by
    their largest magnitude; a scale that is not constant has to stay outside of it.
    """
    largest = ops.maximum(ops.reduce_max(ops.abs(x), _ints(-1), True), ops.constant(SMALLEST))
    low, high = ops.constant(np.float32(-1)), ops.constant(np.float32(1))
    rows = ops.fake_quantize(ops.divide(x, largest), low, high, low, high, 2 * INT8_STEPS + 1)
    scale = np.maximum(np.abs(weight).max(1, keepdims=True), SMALLEST) / np.float32(n_steps)
    codes = ops.convert(ops.constant(np.rint(weight / scale).astype(np.int8)), np.float32)
    weights = ops.multiply(codes, ops.constant(scale))
    return ops.multiply(ops.matmul(rows, weights, False, True), largest)


def _ints(*values: int) -> ov.Node:
    """Return a shape, axis or permutation as the constant that operators expect."""
    array: NDArray[np.int64] = np.array(values, np.int64)
    return ops.constant(array)
