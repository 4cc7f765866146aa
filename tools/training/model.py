"""The `demo` model in torch: Whisper's features, encoder and decoder under Hugging Face's names.

Tensors are float32; T counts encoder frames of 20 ms, two log-mel frames each.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.training.spec import DIMS, TIME
from whisper_npu_cli.audio.mel import mel_filters
from whisper_npu_cli.dims import HOP_LENGTH, N_FFT, SAMPLE_RATE

MELS, WIDTH, HEADS = DIMS.n_mels, DIMS.n_text_state, DIMS.n_text_head


def warp_filters(warp: float) -> Tensor:
    """Return mel filters (80, 201) with the frequency axis scaled by `warp`; 1 gives Whisper's.

    Warping stands for a longer or shorter vocal tract.
    """

    def to_mel(f: np.ndarray) -> np.ndarray:
        return np.where(
            f < 1000, f * 3 / 200, 15 + np.log(np.maximum(f, 1) / 1000) * 27 / np.log(6.4)
        )

    mels = np.linspace(0, to_mel(np.array(SAMPLE_RATE / 2.0)), MELS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    bins = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1) * warp
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.tensor(filters, dtype=torch.float32)


class Features:
    """Log-mel spectrograms (batch, 80, frames) as Whisper's, varied for training."""

    def __init__(self) -> None:
        self.plain = torch.tensor(mel_filters(MELS))
        self.warped = torch.stack([warp_filters(w) for w in np.linspace(0.85, 1.18, 12)])
        self.hann = torch.hann_window(N_FFT)

    def augment(self, samples: Tensor, content: list[int], rng: np.random.Generator) -> Tensor:
        """Return spectrograms of samples whose audio ends at `content`, varied at random.

        Half of the time zeros follow the audio in the spectrogram, not the waveform. The loudest
        sound, which sets the floor, may lie outside. Both happen in openai-whisper.
        """
        chosen = torch.as_tensor(rng.integers(len(self.warped), size=len(samples)))
        plain = torch.as_tensor(rng.random(len(samples)) < 0.5)[:, None, None]
        mel = torch.where(plain, self.plain, self.warped[chosen]) @ self._compute_power(samples)
        log = (mel * self._draw_equalizers(len(samples), rng)).clamp(min=1e-10).log10()
        outside = torch.as_tensor(rng.uniform(-1, 1, (len(samples), 1, 1)).clip(0), dtype=log.dtype)
        log = torch.maximum(log, log.amax((1, 2), keepdim=True) + outside - 8.0)
        log = (log + 4.0) / 4.0
        for clip, end in zip(log, content, strict=True):
            if rng.random() < 0.4:  # mask some frequencies
                low, count = rng.integers(MELS - 10), rng.integers(1, 10)
                clip[low : low + count] = clip.mean()
            if rng.random() < 0.5:
                clip[:, -(-end // HOP_LENGTH) :] = 0.0
        return log

    def _compute_power(self, samples: Tensor) -> Tensor:
        """Return power spectra (batch, 201, frames)."""
        spectrum = torch.stft(samples, N_FFT, HOP_LENGTH, window=self.hann, return_complex=True)
        return spectrum[..., :-1].abs().square()

    @staticmethod
    def _draw_equalizers(count: int, rng: np.random.Generator) -> Tensor:
        """Draw smooth gains (count, 80, 1) of mel bands, like those of microphones.

        Often there is a band limit, like that of a telephone or of a recording at 8 kHz.
        """
        knots = rng.normal(0, 0.35, (count, 6))
        places = np.linspace(0, 5, MELS)
        curves = np.stack([np.interp(places, np.arange(6), k) for k in knots])
        for curve in curves:
            if rng.random() < 0.4:
                curve[rng.integers(58, 66) :] -= rng.uniform(2, 8)  # above 3.3 to 4.3 kHz
            if rng.random() < 0.15:
                curve[: rng.integers(3, 9)] -= rng.uniform(1, 3)
        return torch.tensor(10**curves, dtype=torch.float32)[:, :, None]


class Attention(nn.Module):
    """Whisper's multi-head attention; parameter names are Hugging Face's."""

    def __init__(self) -> None:
        super().__init__()
        self.k_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.v_proj, self.q_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor, source: Tensor, causal: bool = False) -> Tensor:
        """Return the attention of x (batch, queries, width) over source (batch, keys, width)."""
        q, k, v = self._project(x, source)
        heads = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(heads.transpose(1, 2).flatten(2))

    def attend_with_weights(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attention, and the first head's log weights (batch, queries, keys)."""
        q, k, v = self._project(x, source)
        weights = (q @ k.transpose(2, 3) * (WIDTH // HEADS) ** -0.5).log_softmax(-1)
        return self.out_proj((weights.exp() @ v).transpose(1, 2).flatten(2)), weights[:, 0]

    def _project(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.q_proj(x), self.k_proj(source), self.v_proj(source)
        k, v = (t.repeat_interleave(len(x) // len(source), dim=0) for t in (k, v))
        return tuple(t.unflatten(2, (HEADS, -1)).transpose(1, 2) for t in (q, k, v))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each after its norm and added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return the states of the next layer, shape as x (batch, T, width)."""
        h = self.self_attn_layer_norm(x)
        x = x + self.self_attn(h, h)
        return x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))


class DecoderLayer(EncoderLayer):
    """Causal self-attention, cross-attention and feed-forward."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_attn, self.encoder_attn_layer_norm = Attention(), nn.LayerNorm(WIDTH)

    def forward(  # type: ignore[override]
        self, x: Tensor, source: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the states of the next layer and the first head's log cross-attention."""
        h = self.self_attn_layer_norm(x)
        x = x + self.self_attn(h, h, causal=True)
        looked, weights = self.encoder_attn.attend_with_weights(
            self.encoder_attn_layer_norm(x), source
        )
        x = x + looked
        return x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x)))), weights


class Encoder(nn.Module):
    """Two convolutions, the second of stride 2, fixed positions, and the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(DIMS.n_audio_ctx, WIDTH)
        self.layers = nn.ModuleList(EncoderLayer() for _ in range(DIMS.n_audio_layer))
        self.layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, mel: Tensor, offsets: Tensor) -> Tensor:
        """Return states (batch, T, width) of mel (batch, 80, 2 T) from frame `offsets` (batch,)."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.embed_positions(offsets[:, None] + torch.arange(x.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)


class Decoder(nn.Module):
    """Token and learned position embeddings, and the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(DIMS.n_vocab, WIDTH)
        self.embed_positions = nn.Embedding(DIMS.n_text_ctx, WIDTH)
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(DIMS.n_text_layer))
        self.layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, tokens: Tensor, source: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return states (batch, tokens, width) and each layer's first-head log attention."""
        x = self.embed_tokens(tokens) + self.embed_positions.weight[: tokens.shape[1]]
        looks = []
        for layer in self.layers:
            x, look = layer(x, source)
            looks.append(look)
        return self.layer_norm(x), looks

    def logits(self, states: Tensor) -> Tensor:
        """Return the scores of the next token; the output weights are the token embeddings."""
        return states @ self.embed_tokens.weight.T


class Whisper(nn.Module):
    """Encoder and decoder in one module whose state dict has Hugging Face's names."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                fan_in = module.weight[0].numel()
                residual = name.endswith(("out_proj", "fc2"))
                scale = (2 * DIMS.n_audio_layer) ** -0.5 if residual else 1.0
                nn.init.normal_(module.weight, std=scale * fan_in**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.decoder.embed_tokens.weight, std=WIDTH**-0.5)
        with torch.no_grad():
            waves = sinusoids(DIMS.n_audio_ctx)
            self.encoder.embed_positions.weight.copy_(waves).requires_grad_(False)
            # Token <|0.02 k|> means encoder frame k, so it begins as that frame's position.
            small = waves / (WIDTH / 2) ** 0.5
            self.decoder.embed_tokens.weight[TIME : TIME + DIMS.n_audio_ctx] = small
            self.decoder.embed_positions.weight.copy_(small[: DIMS.n_text_ctx])
        self.encoder.embed_positions.weight.requires_grad_(False)


def sinusoids(length: int) -> Tensor:
    """Return Whisper's fixed positions (length, width)."""
    rates = torch.exp(-math.log(10_000) / (WIDTH // 2 - 1) * torch.arange(WIDTH // 2))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)
