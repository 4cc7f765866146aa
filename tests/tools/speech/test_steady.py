"""The audio of the speed benchmark: the same windows for every program."""

from __future__ import annotations

from pathlib import Path

import soundfile

from tools.speech.steady import write_speech
from whisper_npu_cli.dims import N_FRAMES, N_SAMPLES, SAMPLE_RATE
from whisper_npu_cli.longform.windows import plan_windows
from whisper_npu_cli.options import VadOptions
from whisper_npu_cli.spans import Span
from whisper_npu_cli.speech.detect import SpeechFinder


def test_every_thirty_seconds_are_one_window_to_the_vad(tmp_path: Path) -> None:
    write_speech(tmp_path / "speech.wav", 3)
    samples, rate = soundfile.read(tmp_path / "speech.wav", dtype="float32")
    assert (rate, len(samples)) == (SAMPLE_RATE, 3 * N_SAMPLES)
    finder = SpeechFinder(VadOptions())
    finder.add(samples)
    windows = plan_windows(finder.finish(), Span(0, 3 * N_FRAMES), VadOptions())
    assert [window.start // N_FRAMES for window in windows] == [0, 1, 2]
