"""The Python API as `docs/api.md` tells it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

import whisper_npu_cli
from tests.support.digits import compose_clips
from tests.support.places import ROOT
from whisper_npu_cli.dims import SAMPLE_RATE

DOCS = ROOT / "docs" / "api.md"


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """A few digits in a file."""
    path = tmp_path / "talk.wav"
    soundfile.write(path, compose_clips(1)[0].samples, SAMPLE_RATE)
    return path


def test_every_name_is_there_documented_and_sorted() -> None:
    names = whisper_npu_cli.__all__
    assert names == sorted(names)
    text = DOCS.read_text(encoding="utf-8")
    for name in names:
        assert getattr(whisper_npu_cli, name).__name__ == name
        assert f"`{name}" in text


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Transcribe'"):
        _ = whisper_npu_cli.Transcribe  # type: ignore[attr-defined]


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = "import sys, whisper_npu_cli; print('numpy' in sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_documented_example_runs(
    talk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(talk.parent)
    names: dict[str, object] = {}
    exec(example, names)
    result = names["result"]
    assert isinstance(result, whisper_npu_cli.Result)
    assert result.transcript.segments
    assert result.transcript.text in capsys.readouterr().out


def test_transcription_can_be_stopped_between_windows(talk: Path) -> None:
    with whisper_npu_cli.Transcriber("demo") as transcriber:
        transcription = transcriber.transcribe(talk)
        transcription.stop()
        assert list(transcription) == []
        assert not transcription.result.is_complete
        assert list(transcriber.transcribe(talk))


def test_no_import_tells_anybody() -> None:
    """Importing openvino starts a thread that reports it over the network, where it may."""
    program = (
        "import threading, whisper_npu_cli.engines.openvino_encoder.encoder; "
        "print(threading.active_count())"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
