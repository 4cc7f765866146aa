"""A window's cross-attention keys and values, fp32 to int8."""

from __future__ import annotations

import numpy as np

from whisper_npu_cli.engines.numba_decoder.calls import load
from whisper_npu_cli.engines.numba_decoder.compiling import kernel
from whisper_npu_cli.engines.numba_decoder.kinds import F32, I8
from whisper_npu_cli.engines.numba_decoder.packing import LANES


@kernel(F32[3], I8[5], F32[3], F32[1])
def quantize_cross(transposed, arguments):  # type: ignore[no-untyped-def]
    """Quantise cross-attention keys or values x (n_layer, n_audio_ctx, n_state) of one window.

    Fills codes (n_layer, n_head, n_blocks, n_pairs, 2 * LANES), packed, with positions as outputs
    of the product and channels as inputs, or the other way round if `transposed`, and a scale for
    each channel, (n_layer, n_head, head_size). Leaves the codes of further positions as they are.
    `largest` (head_size,) is for what it computes meanwhile.
    """
    x, codes, scale, largest = load(arguments)
    n_layer, n_head, head_size = scale.shape
    n_audio_ctx = x.shape[1]
    for layer in range(n_layer):
        for head in range(n_head):
            channels = x[layer, :, head * head_size : (head + 1) * head_size]
            largest[:] = np.float32(1e-30)
            for t in range(n_audio_ctx):
                for d in range(head_size):
                    largest[d] = max(largest[d], abs(channels[t, d]))
            for d in range(head_size):
                scale[layer, head, d] = largest[d] / np.float32(127)
                largest[d] = np.float32(127) / largest[d]
            out = codes[layer, head]
            for t in range(n_audio_ctx):
                for d in range(head_size):
                    code = np.int8(np.rint(channels[t, d] * largest[d]))
                    if transposed:
                        out[d // LANES, t // 2, 2 * (d % LANES) + t % 2] = code
                    else:
                        out[t // LANES, d // 2, 2 * (t % LANES) + d % 2] = code
