"""The work of a Whisper of given dimensions: operations of a window, bytes of a decoder step."""

from __future__ import annotations

from whisper_npu_cli.dims import N_FRAMES, ModelDims


def count_linear_flop(dims: ModelDims) -> float:
    """Return the operations of one window in products with weights, a multiply-add being two.

    These products are in the encoder's layers and in the decoder's cross-attention keys and values.
    """
    n, width = dims.n_audio_ctx, dims.n_audio_state
    layer = 12 * n * width**2  # 4 for q, k, v and out, 8 for the MLP
    cross = 2 * n * width * dims.n_text_state
    return 2.0 * (dims.n_audio_layer * layer + dims.n_text_layer * cross)


def count_attention_flop(dims: ModelDims) -> float:
    """Return the operations of one window in attention and convolutions; the rest is under 1 %."""
    n, width = dims.n_audio_ctx, dims.n_audio_state
    convolutions = 3 * width * (N_FRAMES * dims.n_mels + n * width)
    return 2.0 * (dims.n_audio_layer * 2 * n**2 * width + convolutions)


def count_step_bytes(dims: ModelDims, n_windows: int, weight_bytes: int, cross_bytes: int) -> int:
    """Return the bytes that a decoder step must read, however many rows it has.

    It reads weights of `weight_bytes` each once for all rows, and cross-attention keys and values
    of `cross_bytes` each once for every window. Self-attention caches, norms and biases are under
    2 % and left out.
    """
    width = dims.n_text_state
    n_weights = 14 * width**2 * dims.n_text_layer + dims.n_vocab * width
    n_cross = 2 * dims.n_text_layer * dims.n_audio_ctx * width
    return weight_bytes * n_weights + cross_bytes * n_windows * n_cross
