"""Audio of which every 30 s are one window to every program, in either long-form mode.

Digits follow each other without a pause, and 3 s of silence follow every 27 s of them: a voice
activity detector finds one span of speech, and cutting every 30 s cuts in silence.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "scripts")]

from demo_data import find_word  # noqa: E402

from tests.support.digits import load_recordings  # noqa: E402

RATE = 16000
WINDOW_S, LEAD_S, SPEECH_S = 30, 1, 27
_DISTINCT = 8  # windows before they come again


def write_speech(path: Path, n_windows: int) -> None:
    """Write `n_windows` of 30 s, 16 kHz and 16 bits."""
    windows = list(_windows(min(n_windows, _DISTINCT)))
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for i in range(n_windows):
            file.write(windows[i % len(windows)])


def _windows(count: int) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    words = [soxr.resample(word, 8000, RATE) for word in _trimmed()]
    for _ in range(count):
        said: list[NDArray[np.float32]] = []
        while sum(map(len, said)) < SPEECH_S * RATE:
            said.append(words[rng.integers(len(words))])
        window = np.zeros(WINDOW_S * RATE, np.float32)
        start, end = LEAD_S * RATE, (LEAD_S + SPEECH_S) * RATE
        window[start:end] = np.concatenate(said)[: end - start]
        yield window


def _trimmed() -> Iterator[NDArray[np.float32]]:
    """Yield recordings at an equal peak without the silence around them."""
    recordings, rate = load_recordings()
    for samples in recordings.values():
        start, end = find_word(samples, rate)
        word = samples[int(start * rate) : int(end * rate)]
        yield word * (0.5 / np.abs(word).max())
