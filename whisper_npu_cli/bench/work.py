"""The work of a Whisper of given dimensions: operations of a window, bytes of a decoder step."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Step:
    """A decoder step: `n_rows` tokens over `n_windows` windows, after `n_positions` of each row.

    Weights have `weight_bytes` each, cross-attention keys and values `cross_bytes`, those of
    self-attention 4. Norms and biases are under 1 % and left out.
    """

    dims: ModelDims
    n_windows: int
    n_rows: int
    n_positions: float
    weight_bytes: int = 1
    cross_bytes: int = 1

    @property
    def n_weights(self) -> int:
        """Weights of the products of a step."""
        dims = self.dims
        return 14 * dims.n_text_state**2 * dims.n_text_layer + dims.n_vocab * dims.n_text_state

    def count_bytes(self) -> float:
        """Return the bytes that the step must read.

        Each weight once, each window's keys and values once, and those of all rows' own tokens.
        """
        return (
            self.weight_bytes * self.n_weights
            + self.cross_bytes * self.n_windows * self._count_cached(self.dims.n_audio_ctx)
            + 4 * self.n_rows * self._count_cached(self.n_positions)
        )

    def count_multiplications(self) -> float:
        """Return the multiply-adds of the step with weights and with cross-attention's caches."""
        return self.n_rows * (self.n_weights + self._count_cached(self.dims.n_audio_ctx))

    def _count_cached(self, n_positions: float) -> float:
        """Return the keys and values of so many positions in all layers."""
        return 2 * self.dims.n_text_layer * n_positions * self.dims.n_text_state
