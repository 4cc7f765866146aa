"""The whole of Whisper in NumPy fp32: the oracle that every other engine is held to.

A checkpoint in, encoder states and decoder logits out. Written to be read: arrays keep the shapes
of the paper (Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision"),
weights their Hugging Face names, and nothing is done for speed that hides what is computed.
It knows nothing of tokens' meaning, audio or files.

    encoder   conv, conv (stride 2), + positions, layers of [self-attention, MLP], LayerNorm
    decoder   token + position, layers of [causal self-attention, cross-attention, MLP],
              LayerNorm, logits with the token embedding as the output matrix

Every block is pre-norm and residual: x + f(LayerNorm(x)).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.special import erf

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.engines.base import CrossKV, EncodedWindow, check_mel
from whisper_npu_cli.options import EngineOptions

Array = NDArray[np.float32]

LAYER_NORM_EPS = 1e-5  # torch.nn.LayerNorm's default, with which Whisper was trained


def gelu(x: Array) -> Array:
    """Return the exact GELU, x times the normal distribution function (no tanh approximation)."""
    normal_cdf: Array = np.float32(0.5) * (1 + erf(x / np.float32(np.sqrt(2))))
    return x * normal_cdf


def softmax(x: Array) -> Array:
    """Return the softmax over the last axis."""
    weights: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    total: Array = weights.sum(axis=-1, keepdims=True)
    return weights / total


def conv1d(x: Array, weight: Array, bias: Array, stride: int) -> Array:
    """Convolve `x` (n_ctx, n_in) by `weight` (n_out, n_in, 3), one zero of padding at each end."""
    patches = sliding_window_view(np.pad(x, ((1, 1), (0, 0))), 3, axis=0)[::stride]
    columns = patches.reshape(len(patches), -1)  # (n_ctx / stride, n_in * 3)
    return columns @ weight.reshape(len(weight), -1).T + bias


def split_heads(x: Array, n_head: int) -> Array:
    """Return x (..., n_ctx, n_state) as (..., n_head, n_ctx, head_size)."""
    return x.reshape(*x.shape[:-1], n_head, -1).swapaxes(-2, -3)


def attention_weights(q: Array, k: Array, n_head: int, mask: Array | None = None) -> Array:
    """Return the weights (..., n_head, n_q, n_kv) of queries on keys, which sum to 1 over the keys.

    `q` is (..., n_q, n_state), `k` is (..., n_kv, n_state).
    `mask` (n_q, n_kv) is added to the scores: 0 where a query may look, -inf where not.
    """
    q, k = split_heads(q, n_head), split_heads(k, n_head)
    scaled: Array = q * np.float32(q.shape[-1] ** -0.5)
    scores: Array = scaled @ k.swapaxes(-1, -2)
    return softmax(scores if mask is None else scores + mask)


def attend(weights: Array, v: Array) -> Array:
    """Return sums (..., n_q, n_state) of `v` (..., n_kv, n_state), by the weights of each head."""
    mixed = (weights @ split_heads(v, weights.shape[-3])).swapaxes(-2, -3)
    return mixed.reshape(*mixed.shape[:-2], -1)


def attention(q: Array, k: Array, v: Array, n_head: int, mask: Array | None = None) -> Array:
    """Return multi-head attention (..., n_q, n_state) of `q` over `k` and `v` (..., n_kv, n_state).

    `mask` is that of `attention_weights`.
    """
    return attend(attention_weights(q, k, n_head, mask), v)


class _Layers:
    """The layers that both halves share, applied by the Hugging Face name of their weights."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.array = functools.cache(checkpoint.array)  # each tensor is converted to fp32 once

    def linear(self, name: str, x: Array) -> Array:
        """Return x W^T + b; Whisper's key projections have no b."""
        product: Array = x @ self.array(f"{name}.weight").T
        return product if name.endswith(".k_proj") else product + self.array(f"{name}.bias")

    def layer_norm(self, name: str, x: Array) -> Array:
        """Normalise the last axis to mean 0 and variance 1, then scale and shift."""
        centred: Array = x - x.mean(axis=-1, keepdims=True)
        variance: Array = np.square(centred).mean(axis=-1, keepdims=True)
        normal: Array = centred / np.sqrt(variance + np.float32(LAYER_NORM_EPS))
        return normal * self.array(f"{name}.weight") + self.array(f"{name}.bias")

    def project(self, name: str, x: Array, projections: str) -> list[Array]:
        """Return the query, key or value projections of `x` that `projections` names: "qkv"."""
        return [self.linear(f"{name}.{letter}_proj", x) for letter in projections]

    def mlp(self, layer: str, x: Array) -> Array:
        """Return the position-wise MLP of `layer`, with its LayerNorm."""
        x = self.layer_norm(f"{layer}.final_layer_norm", x)
        return self.linear(f"{layer}.fc2", gelu(self.linear(f"{layer}.fc1", x)))


class ReferenceEncoder:
    """Whisper's encoder, with the cross-attention keys and values of the decoder's layers."""

    name = "numpy f32"
    leaves_cpu = False

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.dims = checkpoint.dims
        self._layers = _Layers(checkpoint)

    def encode(self, mel: Array) -> EncodedWindow:
        """Encode one window `mel` of shape (n_mels, N_FRAMES); ValueError on another shape."""
        check_mel(mel, self.dims)
        states = self._compute_states(mel)
        cross = [
            self._layers.project(f"model.decoder.layers.{i}.encoder_attn", states, "kv")
            for i in range(self.dims.n_text_layer)
        ]
        cross_keys, cross_values = (np.stack(arrays) for arrays in zip(*cross, strict=True))
        return EncodedWindow(states, cross_keys, cross_values)

    def _compute_states(self, mel: Array) -> Array:
        layers, encoder = self._layers, "model.encoder"
        x = mel.T  # (N_FRAMES, n_mels)
        for name, stride in (("conv1", 1), ("conv2", 2)):
            weight = layers.array(f"{encoder}.{name}.weight")
            x = gelu(conv1d(x, weight, layers.array(f"{encoder}.{name}.bias"), stride))
        x = x + layers.array(f"{encoder}.embed_positions.weight")  # (n_audio_ctx, n_audio_state)
        for i in range(self.dims.n_audio_layer):
            layer = f"{encoder}.layers.{i}"
            normal = layers.layer_norm(f"{layer}.self_attn_layer_norm", x)
            q, k, v = layers.project(f"{layer}.self_attn", normal, "qkv")
            mixed = attention(q, k, v, self.dims.n_audio_head)
            x = x + layers.linear(f"{layer}.self_attn.out_proj", mixed)
            x = x + layers.mlp(layer, x)
        return layers.layer_norm(f"{encoder}.layer_norm", x)

    def close(self) -> None:
        """Do nothing: there is no device to release."""


class ReferenceDecoder:
    """Whisper's text decoder."""

    name = "numpy f32"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.dims = checkpoint.dims
        self.layers = _Layers(checkpoint)
        self._heads = checkpoint.generation.alignment_heads

    def cross_kv(self, window: EncodedWindow) -> CrossKV:
        """Return the window's keys and values (n_text_layer, n_audio_ctx, n_text_state)."""
        wide = window.widen()
        return CrossKV(wide.cross_keys, wide.cross_values)

    def start(self, windows: Sequence[CrossKV], max_rows: int | None = None) -> ReferenceSession:
        """Begin decoding `windows`, one row each; `max_rows` bounds later gathers."""
        return ReferenceSession(self, windows, len(windows) if max_rows is None else max_rows)

    def align(self, window: CrossKV, tokens: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return logits (n_tokens, n_vocab) and the alignment heads' cross-attention weights.

        The weights have the shape (n_heads, n_tokens, n_audio_ctx).
        """
        session = self.start([window])
        logits = session.prefill(tokens[None], range(len(tokens)))[0]
        weights = [session.cross_weights[layer][0][head] for layer, head in self._heads]
        return logits, np.stack(weights)

    def close(self) -> None:
        """Do nothing: there is no device to release."""


class ReferenceSession:
    """Rows of tokens being decoded, with the keys and values of the positions so far."""

    def __init__(
        self, decoder: ReferenceDecoder, windows: Sequence[CrossKV], max_rows: int
    ) -> None:
        self._dims, self._layers = decoder.dims, decoder.layers
        self._windows = list(windows)  # one for each row
        self._max_rows = max_rows
        empty = np.zeros((len(windows), 0, self._dims.n_text_state), np.float32)
        # Per layer the self-attention keys and values, each (n_rows, n_positions, n_text_state).
        self._cache = [(empty, empty)] * self._dims.n_text_layer
        # Per layer and row the weights of the tokens fed last: (n_head, n_new, n_audio_ctx).
        self.cross_weights: list[list[Array]] = [[]] * self._dims.n_text_layer

    def prefill(self, prompts: NDArray[np.int64], logits_at: Sequence[int]) -> Array:
        """Feed `prompts` (n_rows, n_prompt); return logits (n_rows, len(logits_at), n_vocab)."""
        return self._compute_logits(self._forward(prompts)[:, list(logits_at)])

    def step(self, tokens: NDArray[np.int64]) -> Array:
        """Feed one token a row (n_rows,); return logits (n_rows, n_vocab)."""
        return self._compute_logits(self._forward(tokens[:, None])[:, 0])

    def gather(self, rows: NDArray[np.int64]) -> None:
        """Make row i what row `rows[i]` was; ValueError beyond `max_rows`."""
        if len(rows) > self._max_rows:
            raise ValueError(f"{len(rows)} rows gathered, the session holds {self._max_rows}")
        self._windows = [self._windows[row] for row in rows]
        self._cache = [(keys[rows], values[rows]) for keys, values in self._cache]

    def _compute_logits(self, x: Array) -> Array:
        logits: Array = x @ self._layers.array("model.decoder.embed_tokens.weight").T
        return logits

    def _forward(self, tokens: NDArray[np.int64]) -> Array:
        """Feed `tokens` (n_rows, n_new); return the last LayerNorm (n_rows, n_new, n_state)."""
        layers, decoder = self._layers, "model.decoder"
        start = self._cache[0][0].shape[1]
        stop = start + tokens.shape[1]
        if stop > self._dims.n_text_ctx:
            raise ValueError(f"the context of {self._dims.n_text_ctx} tokens is full")
        positions = layers.array(f"{decoder}.embed_positions.weight")[start:stop]
        x = layers.array(f"{decoder}.embed_tokens.weight")[tokens] + positions
        for i in range(self._dims.n_text_layer):
            x = x + self._self_attention(i, x)
            x = x + self._cross_attention(i, x)
            x = x + layers.mlp(f"{decoder}.layers.{i}", x)
        return layers.layer_norm(f"{decoder}.layer_norm", x)

    def _self_attention(self, i: int, x: Array) -> Array:
        """Attend causally to the cached positions and to the new ones, which join the cache."""
        layer = f"model.decoder.layers.{i}"
        normal = self._layers.layer_norm(f"{layer}.self_attn_layer_norm", x)
        q, *new = self._layers.project(f"{layer}.self_attn", normal, "qkv")
        k, v = (np.concatenate(pair, axis=1) for pair in zip(self._cache[i], new, strict=True))
        self._cache[i] = k, v
        n_new, n_kv = q.shape[1], k.shape[1]
        mask = np.triu(np.full((n_new, n_kv), -np.inf, np.float32), k=n_kv - n_new + 1)
        mixed = attention(q, k, v, self._dims.n_text_head, mask)
        return self._layers.linear(f"{layer}.self_attn.out_proj", mixed)

    def _cross_attention(self, i: int, x: Array) -> Array:
        """Attend to the window of each row."""
        layer = f"model.decoder.layers.{i}"
        normal = self._layers.layer_norm(f"{layer}.encoder_attn_layer_norm", x)
        queries = self._layers.linear(f"{layer}.encoder_attn.q_proj", normal)
        self.cross_weights[i] = [
            attention_weights(q, window.keys[i], self._dims.n_text_head)
            for q, window in zip(queries, self._windows, strict=True)
        ]
        mixed = [
            attend(weights, window.values[i])
            for weights, window in zip(self.cross_weights[i], self._windows, strict=True)
        ]
        return self._layers.linear(f"{layer}.encoder_attn.out_proj", np.stack(mixed))


def load_encoder(checkpoint: Checkpoint, options: EngineOptions) -> ReferenceEncoder:
    """Load the encoder of `--device reference`."""
    del options
    return ReferenceEncoder(checkpoint)


def load_decoder(checkpoint: Checkpoint, options: EngineOptions) -> ReferenceDecoder:
    """Load the decoder of `--device reference`."""
    del options
    return ReferenceDecoder(checkpoint)
