"""Files of any length: spoken digits whose text is known, and sounds without speech."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.support.digits import SPEAKERS, WORDS, load_recordings
from whisper_npu_cli.dims import SAMPLE_RATE


def compose_long_file(path: Path, minutes: float, seed: int = 0) -> list[str]:
    """Write phrases of 3 to 10 digits with up to 5 s between them; return the words."""
    rng = np.random.default_rng(seed)
    recordings, rate = load_recordings()
    words: list[str] = []
    n_left = int(minutes * 60 * rate)
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        while n_left > 0:
            speaker = SPEAKERS[rng.integers(len(SPEAKERS))]
            for digit in rng.integers(10, size=rng.integers(3, 11)):
                said = recordings[f"{digit}_{speaker}_{rng.integers(5)}"]
                pause = np.zeros(int(rng.uniform(0.1, 0.8) * rate), np.float32)
                file.write(np.concatenate([said, pause]))
                words.append(WORDS[digit])
                n_left -= said.size + pause.size
            gap = np.zeros(int(rng.uniform(0, 5) * rate), np.float32)
            file.write(gap)
            n_left -= gap.size
    return words


def _noise(t: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(t.size, np.float32) * np.float32(0.05)


def _hum(t: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mains hum of 50 Hz with its third harmonic."""
    return 0.3 * np.sin(2 * np.pi * 50 * t) + 0.1 * np.sin(2 * np.pi * 150 * t)


def _music(t: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fading chords, struck twice a second, in a round of four."""
    thirds = np.array([[262, 330, 392], [220, 262, 330], [175, 220, 262], [196, 247, 294]])
    pitches = thirds[(t / 2).astype(int) % len(thirds)]  # (n, 3) Hz
    chord = sum(np.sin(2 * np.pi * pitch * t) for pitch in pitches.T)
    return (0.15 * chord * np.exp(-4 * (t % 0.5))).astype(np.float32)


# Times (n,) in seconds, up to a minute -> samples (n,) at SAMPLE_RATE without speech.
NO_SPEECH: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "silence": np.zeros_like,
    "noise": _noise,
    "hum": _hum,
    "music": _music,
}


def write_no_speech(path: Path, sound: str, minutes: int) -> None:
    """Write `minutes` of a sound of NO_SPEECH."""
    minute = NO_SPEECH[sound](np.arange(60 * SAMPLE_RATE, dtype=np.float32) / SAMPLE_RATE)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for _ in range(minutes):
            file.write(minute)
