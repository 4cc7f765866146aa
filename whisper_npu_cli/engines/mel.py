"""Mel power by the device of an encoder, as `audio/mel.py` asks for it."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.engines.base import MelEncoder


class EncoderMel:
    """Mel power by `encoder`; `turns` has one caller of it at a time."""

    def __init__(self, encoder: MelEncoder, turns: AbstractContextManager[None]) -> None:
        self.n_mels = encoder.dims.n_mels
        self.n_frames = encoder.n_mel_frames
        self._encoder = encoder
        self._turns = turns

    @property
    def name(self) -> str:
        """What the timings call it; empty once the host has taken over."""
        return self._encoder.mel_name

    def compute_power(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mel power (n_mels, k) of the k whole frames of samples (n,)."""
        with self._turns:
            return self._encoder.compute_mel_power(samples)
