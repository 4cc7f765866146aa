from __future__ import annotations

import json
from pathlib import Path

import pytest

from whisper_npu_cli.errors import OutputError
from whisper_npu_cli.transcript import Segment, Transcript
from whisper_npu_cli.writers import format_timestamp, write_atomically, writers


def segment(start: float, end: float, text: str, index: int = 0) -> Segment:
    return Segment(index, 0, start, end, text, (1, 2), 0.0, -0.25, 0.8, 0.01)


TRANSCRIPT = Transcript(
    "en",
    3700.0,
    (segment(0.0, 2.5, " seven\tthree"), segment(3601.25, 3605.999, " one --> two", 1)),
)

# Written by openai/whisper's own writers (20250625) for the same segments.
EXPECTED = {
    "txt": "seven\tthree\none --> two\n",
    "srt": "1\n00:00:00,000 --> 00:00:02,500\nseven\tthree\n\n"
    "2\n01:00:01,250 --> 01:00:05,999\none -> two\n\n",
    "vtt": "WEBVTT\n\n00:00.000 --> 00:02.500\nseven\tthree\n\n"
    "01:00:01.250 --> 01:00:05.999\none -> two\n\n",
    "tsv": "start\tend\ttext\n0\t2500\tseven three\n3601250\t3605999\tone --> two\n",
}


@pytest.mark.parametrize("suffix", EXPECTED)
def test_format_is_openai_whispers(suffix: str) -> None:
    assert writers()[suffix](TRANSCRIPT) == EXPECTED[suffix]


def test_json_has_openai_whispers_fields() -> None:
    fields = json.loads(writers()["json"](TRANSCRIPT))
    assert list(fields) == ["text", "segments", "language"]
    assert fields["text"] == " seven\tthree one --> two"
    assert fields["segments"][1] == {
        "id": 1,
        "seek": 0,
        "start": 3601.25,
        "end": 3605.999,
        "text": " one --> two",
        "tokens": [1, 2],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 0.8,
        "no_speech_prob": 0.01,
    }


@pytest.mark.parametrize("suffix", writers())
def test_silence_is_an_empty_transcript(suffix: str) -> None:
    text = writers()[suffix](Transcript("en", 30.0, ()))
    empty = {"vtt": "WEBVTT\n\n", "tsv": "start\tend\ttext\n"}
    if suffix == "json":
        assert json.loads(text) == {"text": "", "segments": [], "language": "en"}
    else:
        assert text == empty.get(suffix, "")


def test_timestamp_rounds_to_milliseconds_and_carries() -> None:
    assert format_timestamp(59.9996, hours=False, decimal_marker=".") == "01:00.000"


def test_output_replaces_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "clip.txt"
    write_atomically(path, "old")
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["clip.txt"]


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.txt"
    write_atomically(path, "old")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OutputError, match=r"clip\.txt: cannot be written: No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["clip.txt"]


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/clip\.txt: cannot be written") as caught:
        write_atomically(tmp_path / "file" / "clip.txt", "text")
    assert caught.value.hint is not None
