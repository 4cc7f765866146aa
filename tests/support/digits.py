"""Clips of spoken digits, the same for the makers of the goldens and for the tests.

`data/digits.flac` holds the test split (indices 0 to 4) of the Free Spoken Digit Dataset one
after the other, `data/digits.json` the name and length of each: 0_george_0 is speaker George
saying "zero". CC BY-SA 4.0, Zohar Jackson and others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tests.support.places import DATA
from whisper_npu_cli.audio.mel import HostMel, log_mel
from whisper_npu_cli.dims import N_FRAMES, SAMPLE_RATE

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPEAKERS = ("george", "jackson", "lucas", "nicolas")


@dataclass(frozen=True)
class DigitClip:
    """Digits said by one speaker."""

    samples: NDArray[np.float32]  # (n,) at SAMPLE_RATE
    text: str
    starts: tuple[float, ...]  # start of each digit's recording in seconds

    def mel(self, n_mels: int) -> NDArray[np.float32]:
        """Return the only window of the clip, (n_mels, N_FRAMES), zero beyond the content."""
        content = log_mel(self.samples, HostMel(n_mels))
        return np.pad(content, ((0, 0), (0, N_FRAMES - content.shape[1])))


def digits_of(path: Path) -> str:
    """Return the text of a file of `samples/`, by its name: the speaker, then the digits."""
    return " ".join(WORDS[int(digit)] for digit in path.stem.split("-")[1:])


def compose_clips(n_clips: int, seed: int = 0) -> list[DigitClip]:
    """Return clips of 3 to 10 digits each, the speakers in turn, 3 to 15 s long."""
    rng = np.random.default_rng(seed)
    return [_compose(rng, SPEAKERS[i % len(SPEAKERS)]) for i in range(n_clips)]


def _compose(rng: np.random.Generator, speaker: str) -> DigitClip:
    recordings, rate = load_recordings()
    digits = rng.integers(10, size=rng.integers(3, 11))
    pieces = [np.zeros(int(rng.uniform(0, 2) * rate), np.float32)]
    starts = []
    for digit in digits:
        starts.append(sum(map(len, pieces)) / rate)
        pieces.append(recordings[f"{digit}_{speaker}_{rng.integers(5)}"])
        pieces.append(np.zeros(int(rng.uniform(0.1, 0.8) * rate), np.float32))
    samples = soxr.resample(np.concatenate(pieces), rate, SAMPLE_RATE)
    return DigitClip(samples, " ".join(WORDS[digit] for digit in digits), tuple(starts))


def compose_recording(
    duration_s: float, longest_gap_s: float, seed: int = 0
) -> NDArray[np.float32]:
    """Return samples (n,) at SAMPLE_RATE: digits with pauses up to `longest_gap_s` over hiss.

    Short pauses are much more frequent than long ones, and a speaker says a few digits at a time.
    """
    rng = np.random.default_rng(seed)
    recordings, rate = load_recordings()
    pieces: list[NDArray[np.float32]] = []
    while sum(map(len, pieces)) < duration_s * rate:
        speaker = rng.choice(SPEAKERS)
        for _ in range(rng.integers(1, 9)):
            pieces.append(recordings[f"{rng.integers(10)}_{speaker}_{rng.integers(5)}"])
            pieces.append(np.zeros(int(rng.uniform(0, 0.5) * rate), np.float32))
        pieces.append(np.zeros(int(longest_gap_s * rng.random() ** 3 * rate), np.float32))
    said = np.concatenate(pieces)[: int(duration_s * rate)]
    hiss = rng.standard_normal(len(said), np.float32) * np.float32(3e-4)
    return soxr.resample(said + hiss, rate, SAMPLE_RATE)


@cache
def load_recordings() -> tuple[dict[str, NDArray[np.float32]], int]:
    """Return name -> samples of single digits, and their rate in Hz."""
    samples, rate = soundfile.read(DATA / "digits.flac", dtype="float32")
    lengths = json.loads((DATA / "digits.json").read_text())
    parts = np.split(samples, np.cumsum(list(lengths.values()))[:-1])
    return dict(zip(lengths, parts, strict=True)), rate
