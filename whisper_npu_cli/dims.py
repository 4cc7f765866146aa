"""Whisper's constants and model dimensions. The only place for literal 1500, 3000 or 16000."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLE_RATE = 16_000  # Hz
N_FFT = 400  # samples in one analysis frame: 25 ms
HOP_LENGTH = 160  # samples between frames: 10 ms
CHUNK_S = 30  # seconds in one window
N_SAMPLES = CHUNK_S * SAMPLE_RATE  # 480000 samples in a window
N_FRAMES = N_SAMPLES // HOP_LENGTH  # 3000 mel frames in a window
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 100
SAMPLES_PER_TOKEN = HOP_LENGTH * 2  # the second convolution has stride 2
TOKENS_PER_SECOND = (
    SAMPLE_RATE // SAMPLES_PER_TOKEN
)  # 50: one encoder position or timestamp = 20 ms
TIME_PRECISION_S = 1 / TOKENS_PER_SECOND  # 0.02 s


@dataclass(frozen=True)
class ModelDims:
    """The ten numbers that fix a Whisper architecture, named as in openai/whisper `model.py`."""

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int

    @property
    def head_size(self) -> int:
        """Width of one attention head of the encoder (64 in every published checkpoint)."""
        return self.n_audio_state // self.n_audio_head

    @property
    def text_head_size(self) -> int:
        """Width of one attention head of the decoder."""
        return self.n_text_state // self.n_text_head
