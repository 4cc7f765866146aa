"""Both long-form modes with the demo model, on ten minutes whose text is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.edits import count_edits
from tests.support.long_files import NO_SPEECH, compose_long_file, write_no_speech
from whisper_npu_cli import TranscribeOptions, Transcriber, Transcript
from whisper_npu_cli.options import LongForm

MODES: tuple[LongForm, ...] = ("sequential", "batched")
MINUTES = 10


@pytest.fixture(scope="module")
def demo() -> Iterator[Transcriber]:
    with Transcriber("demo") as transcriber:
        yield transcriber


def transcribe(demo: Transcriber, path: Path, mode: LongForm) -> Transcript:
    transcription = demo.transcribe(path, TranscribeOptions("en", long_form=mode))
    list(transcription)
    assert transcription.result.is_complete
    return transcription.result.transcript


@pytest.mark.slow
def test_both_modes_write_the_same_digits(demo: Transcriber, tmp_path: Path) -> None:
    said = compose_long_file(tmp_path / "digits.wav", MINUTES)
    texts = [transcribe(demo, tmp_path / "digits.wav", mode).text.split() for mode in MODES]
    assert count_edits(*texts) <= 0.01 * len(said)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sound", NO_SPEECH)
def test_no_text_without_speech(
    demo: Transcriber, tmp_path: Path, sound: str, mode: LongForm
) -> None:
    write_no_speech(tmp_path / "sound.wav", sound, MINUTES)
    transcript = transcribe(demo, tmp_path / "sound.wav", mode)
    assert transcript.segments == ()
    assert transcript.duration_s == 60 * MINUTES
