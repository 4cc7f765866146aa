"""Expected values of the log-mel, by openai-whisper. Part of `make_goldens.py`."""

from __future__ import annotations

import wave
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
AUDIO = ROOT.parent / "shared" / "audio"


def read_wav(name: str) -> NDArray[np.float32]:
    """Return the samples (n,) of a 16-bit mono recording at 16 kHz, full scale 1."""
    with wave.open(str(AUDIO / name)) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, 16_000):
            raise ValueError(f"{name}: expected 16-bit mono at 16 kHz")
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return samples.astype(np.float32) / 32768


def save(name: str, provenance: str, packages: list[str], **arrays: NDArray[np.generic]) -> None:
    """Write tests/golden/<name>.npz with the arrays and how they were made."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    np.savez_compressed(
        GOLDEN / f"{name}.npz", provenance=np.array(f"{provenance}; {versions}"), **arrays
    )


def make_mel() -> None:
    """Save openai-whisper's log-mel of jfk.wav: every 8th frame and both ends, in fp32."""
    from whisper.audio import N_FRAMES, N_SAMPLES, log_mel_spectrogram

    samples = read_wav("jfk.wav")
    arrays: dict[str, NDArray[np.generic]] = {}
    for n_mels in (80, 128):
        mel = log_mel_spectrogram(samples, n_mels, padding=N_SAMPLES).numpy()[:, :-N_FRAMES]
        n_frames = mel.shape[1]
        picked = np.unique(np.r_[0:4, 0:n_frames:8, n_frames - 4 : n_frames])
        arrays[f"frames_{n_mels}"] = picked
        arrays[f"mel_{n_mels}"] = mel[:, picked]
    save(
        "mel",
        "whisper.audio.log_mel_spectrogram(jfk.wav, padding=N_SAMPLES), content frames",
        ["openai-whisper", "torch", "numpy"],
        **arrays,
    )
