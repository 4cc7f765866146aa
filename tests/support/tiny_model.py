"""The small random checkpoint and the mel windows that goldens and tests share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.dims import ModelDims

# Head size 64 as in every Whisper; the vocabulary just holds the special tokens.
TINY_DIMS = ModelDims(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=128,
    n_audio_head=2,
    n_audio_layer=2,
    n_vocab=2000,
    n_text_ctx=64,
    n_text_state=128,
    n_text_head=2,
    n_text_layer=2,
)
TINY_SEED = 7


def unpack_mel(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return log-mel windows from their stored form, steps of 1/64 up from -1."""
    return packed.astype(np.float32) / 64 - 1
