"""Goldens of the log-mel, by openai-whisper."""

from __future__ import annotations

import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.support.places import SHARED
from tools.goldens.provenance import list_versions, write_arrays


def make_mel() -> None:
    """Save openai-whisper's log-mel of jfk.wav: every 8th frame and both ends, in fp32."""
    from whisper.audio import N_FRAMES, N_SAMPLES, log_mel_spectrogram

    samples, _ = soundfile.read(SHARED / "audio" / "jfk.wav", dtype="float32")
    arrays: dict[str, NDArray[np.generic]] = {}
    for n_mels in (80, 128):
        mel = log_mel_spectrogram(samples, n_mels, padding=N_SAMPLES).numpy()[:, :-N_FRAMES]
        n_frames = mel.shape[1]
        picked = np.unique(np.r_[0:4, 0:n_frames:8, n_frames - 4 : n_frames])
        arrays[f"frames_{n_mels}"] = picked
        arrays[f"mel_{n_mels}"] = mel[:, picked]
    write_arrays(
        "mel.npz",
        "whisper.audio.log_mel_spectrogram(jfk.wav, padding=N_SAMPLES), content frames; "
        + list_versions("openai-whisper", "torch", "numpy"),
        **arrays,
    )
