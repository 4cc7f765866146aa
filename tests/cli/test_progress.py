from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.cli.progress import describe_progress, read_progress
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.transcript import Progress, Segment, Word

OPTIONS = TranscribeOptions(language="en")
SEGMENT = Segment(0, 0, 0.5, 2.0, " one", (7, 8), 0.0, -0.25, 1.0, 0.125, "en")
SPOKEN = replace(SEGMENT, words=(Word(" one", 0.5, 2.0, 0.75),), logprobs=(-0.25, -0.5))
PROGRESS = Progress(200, "en", {"en": 0.5}, (SEGMENT, SPOKEN))


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mkv"
    path.write_bytes(b"two tracks")
    return path


def test_progress_is_read_as_it_was_written(talk: Path, tmp_path: Path) -> None:
    file = tmp_path / "talk.partial.progress"
    file.write_text(describe_progress(FileSource(talk, 2), "base", OPTIONS, PROGRESS))
    assert read_progress(file, FileSource(talk, 2), "base", OPTIONS) == PROGRESS


@pytest.mark.parametrize("other", ["track", "model", "options", "input", "damage"])
def test_progress_of_something_else_is_none(talk: Path, tmp_path: Path, other: str) -> None:
    file = tmp_path / "talk.partial.progress"
    file.write_text(describe_progress(FileSource(talk, 2), "base", OPTIONS, PROGRESS))
    if other == "input":
        talk.write_bytes(b"another recording")
    if other == "damage":
        file.write_text(file.read_text()[:-9])
    source = FileSource(talk, 1 if other == "track" else 2)
    options = replace(OPTIONS, language="de") if other == "options" else OPTIONS
    model = "tiny" if other == "model" else "base"
    assert read_progress(file, source, model, options) is None
