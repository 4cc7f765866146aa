"""Both long-form modes with the demo model, on what is composed and therefore known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
from digits import compose_clips
from long_form import n_edits
from numpy.typing import NDArray

from whisper_npu_cli import TranscribeOptions, Transcriber, Transcript
from whisper_npu_cli.dims import SAMPLE_RATE

MODES: tuple[Literal["sequential", "batched"], ...] = ("sequential", "batched")


@pytest.fixture(scope="module")
def demo() -> Iterator[Transcriber]:
    with Transcriber("demo") as transcriber:
        yield transcriber


def transcribe(demo: Transcriber, path: Path, mode: Literal["sequential", "batched"]) -> Transcript:
    transcription = demo.transcribe(path, TranscribeOptions("en", long_form=mode))
    list(transcription)
    assert transcription.is_complete
    return transcription.transcript


def test_both_modes_write_the_same_digits(demo: Transcriber, tmp_path: Path) -> None:
    clips = compose_clips(20)  # three minutes
    pause = np.zeros(2 * SAMPLE_RATE, np.float32)
    samples = np.concatenate([part for clip in clips for part in (clip.samples, pause)])
    soundfile.write(tmp_path / "digits.wav", samples, SAMPLE_RATE)
    said = " ".join(clip.text for clip in clips).split()
    texts = [transcribe(demo, tmp_path / "digits.wav", mode).text.split() for mode in MODES]
    assert n_edits(*texts) <= 0.01 * len(said)


t = np.arange(150 * SAMPLE_RATE) / SAMPLE_RATE
NO_SPEECH = {
    "silence": np.zeros_like(t),
    "noise": np.random.default_rng(0).standard_normal(t.size) * 0.05,
    "hum": 0.3 * np.sin(2 * np.pi * 50 * t) + 0.1 * np.sin(2 * np.pi * 150 * t),
    "chords": sum(0.1 * np.sin(2 * np.pi * f * t) for f in (262, 330, 392)) * (np.sin(9 * t) > 0),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sound", NO_SPEECH.values(), ids=NO_SPEECH)
def test_no_text_without_speech(
    demo: Transcriber,
    tmp_path: Path,
    sound: NDArray[np.float64],
    mode: Literal["sequential", "batched"],
) -> None:
    soundfile.write(tmp_path / "sound.wav", sound, SAMPLE_RATE)
    assert transcribe(demo, tmp_path / "sound.wav", mode).segments == ()
