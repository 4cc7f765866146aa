"""Audio of which every 30 s are one window for every program, in either long-form mode.

Digits follow each other without a pause, and 3 s of silence follow every 27 s of them: a voice
activity detector finds one span of speech, and cutting every 30 s cuts in silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tests.support.digits import load_recordings
from tools.speech.voices import find_word
from whisper_npu_cli.dims import N_SAMPLES, SAMPLE_RATE

LEAD_S, SPEECH_S = 1, 27
_DISTINCT = 8  # windows before they repeat


def write_speech(path: Path, n_windows: int) -> None:
    """Write `n_windows` of 30 s, 16 kHz and 16 bits."""
    windows = list(_compose_windows(min(n_windows, _DISTINCT)))
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for i in range(n_windows):
            file.write(windows[i % len(windows)])


def _compose_windows(count: int) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    words = [soxr.resample(word, 8000, SAMPLE_RATE) for word in _trim_recordings()]
    for _ in range(count):
        said: list[NDArray[np.float32]] = []
        while sum(map(len, said)) < SPEECH_S * SAMPLE_RATE:
            said.append(words[rng.integers(len(words))])
        window = np.zeros(N_SAMPLES, np.float32)
        start, end = LEAD_S * SAMPLE_RATE, (LEAD_S + SPEECH_S) * SAMPLE_RATE
        window[start:end] = np.concatenate(said)[: end - start]
        yield window


def _trim_recordings() -> Iterator[NDArray[np.float32]]:
    """Yield recordings at an equal peak without the silence around them."""
    recordings, rate = load_recordings()
    for samples in recordings.values():
        start, end = find_word(samples, rate)
        word = samples[int(start * rate) : int(end * rate)]
        yield word * (0.5 / np.abs(word).max())
