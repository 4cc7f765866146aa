"""A window's cross-attention keys and values, fp32 or bf16 to int8."""

from __future__ import annotations

import numpy as np

from whisper_npu_cli.engines.numba_decoder.calls import load
from whisper_npu_cli.engines.numba_decoder.compiling import kernel, serial
from whisper_npu_cli.engines.numba_decoder.kinds import F32, I8, U16
from whisper_npu_cli.engines.numba_decoder.packing import LANES


@kernel(F32[3], I8[5], F32[3], F32[2])
def quantize_cross(transposed, arguments):  # type: ignore[no-untyped-def]
    """Quantise cross-attention keys or values x (n_layer, n_audio_ctx, n_state) of one window.

    Fills codes (n_layer, n_head, n_blocks, n_pairs, 2 * LANES), packed, with positions as outputs
    of the product and channels as inputs, or the other way round if `transposed`, and a scale for
    each channel, (n_layer, n_head, head_size). Leaves the codes of further positions as they are.
    `scratch` (1 + n_audio_ctx, head_size) is for what it computes meanwhile.
    """
    x, codes, scale, scratch = load(arguments)
    n_layer, n_head, head_size = scale.shape
    for layer in range(n_layer):
        for head in range(n_head):
            channels = x[layer, :, head * head_size : (head + 1) * head_size]
            out = codes[layer, head]
            _quantize_head(channels, transposed, out, scale[layer, head], scratch[0])


@kernel(U16[3], I8[5], F32[3], F32[2])
def quantize_cross_bf16(transposed, arguments):  # type: ignore[no-untyped-def]
    """Quantise as `quantize_cross` does what is held in bf16, head by head in fp32."""
    x, codes, scale, scratch = load(arguments)
    n_layer, n_head, head_size = scale.shape
    channels = scratch[1:]
    for layer in range(n_layer):
        for head in range(n_head):
            for t in range(x.shape[1]):
                for d in range(head_size):
                    bits = np.uint32(x[layer, t, head * head_size + d]) << np.uint32(16)
                    channels[t, d] = np.uint32(bits).view(np.float32)
            out = codes[layer, head]
            _quantize_head(channels, transposed, out, scale[layer, head], scratch[0])


@serial
def _quantize_head(channels, transposed, out, scale, largest):  # type: ignore[no-untyped-def]
    """Quantise channels (n_audio_ctx, head_size) of one head and layer."""
    n_audio_ctx, head_size = channels.shape
    largest[:] = np.float32(1e-30)
    for t in range(n_audio_ctx):
        for d in range(head_size):
            largest[d] = max(largest[d], abs(channels[t, d]))
    for d in range(head_size):
        scale[d] = largest[d] / np.float32(127)
        largest[d] = np.float32(127) / largest[d]
    for t in range(n_audio_ctx):
        for d in range(head_size):
            code = np.int8(np.rint(channels[t, d] * largest[d]))
            if transposed:
                out[d // LANES, t // 2, 2 * (d % LANES) + t % 2] = code
            else:
                out[t // LANES, d // 2, 2 * (t % LANES) + d % 2] = code
