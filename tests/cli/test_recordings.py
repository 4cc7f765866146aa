"""`whisper-npu transcribe` on recordings that are not as they should be."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import soundfile

from tests.cli.conftest import Cli
from tests.support.bad_audio import cut, tone
from tests.support.digits import compose_clips
from whisper_npu_cli.dims import SAMPLE_RATE

DEMO = ("--model", "demo", "--beam-size", "none")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Spoken digits."""
    path = tmp_path / "digits.wav"
    soundfile.write(path, compose_clips(1)[0].samples, SAMPLE_RATE)
    return path


def test_what_is_there_of_a_cut_recording_is_transcribed(
    cli: Cli, recording: Path, tmp_path: Path
) -> None:
    whole = cli("transcribe", recording, *DEMO, "--json").document["results"][0]
    cut(recording, 0.7)
    result = cli("transcribe", recording, *DEMO, "--json", "-f", "txt", "-o", tmp_path / "out")
    assert result.status == 1
    (found,) = result.document["results"]
    assert not found["complete"]
    assert found["text"].split()
    assert whole["text"].startswith(found["text"].rsplit(" ", 1)[0])  # its last word may be cut
    (damage,) = found["damage"]
    assert damage["missing"]
    assert damage["start"] == pytest.approx(found["duration_s"], abs=0.001)
    assert damage["end"] == pytest.approx(whole["duration_s"], abs=0.001)
    assert f"warning: {recording}: sound is missing from 00:" in result.stderr
    assert "error" not in result.stderr
    assert (tmp_path / "out" / "digits.txt").read_text().split() == found["text"].split()


def test_a_byte_that_is_missing_is_a_warning(cli: Cli, recording: Path) -> None:
    recording.write_bytes(recording.read_bytes()[:-1])
    result = cli("transcribe", recording, *DEMO, "--json")
    assert result.status == 0
    assert result.document["results"][0]["complete"]
    assert f"warning: {recording}: sound is missing at 00:" in result.stderr


def test_strict_refuses_what_is_damaged_and_the_others_go_on(
    cli: Cli, recording: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.wav"
    damaged.write_bytes(recording.read_bytes())
    cut(damaged)
    result = cli("transcribe", damaged, recording, *DEMO, "--json", "--strict")
    assert result.status == 1
    refused, transcribed = result.document["results"]
    assert "sound is missing from" in refused["error"]
    assert "--strict" in refused["hint"]
    assert transcribed["complete"]


@pytest.mark.parametrize(
    ("samples", "remark"),
    [
        (np.zeros((SAMPLE_RATE, 1), np.float32), "no speech found|all of it is digital silence"),
        (0.001 * tone(), "no speech found|very quiet: the loudest sample is at -7[0-9] dBFS"),
        (tone(), "no speech found"),
    ],
)
def test_nothing_to_say_is_said(cli: Cli, tmp_path: Path, samples: np.ndarray, remark: str) -> None:
    path = tmp_path / "nothing.wav"
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    result = cli("transcribe", path, *DEMO, "--json")
    assert result.status == 0
    assert result.document["results"][0]["text"] == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith(f"{path}: ")]
    assert " · " in lines.pop()  # its length and the time it took
    assert len(lines) == len(remark.split("|"))
    for line, expected in zip(lines, remark.split("|"), strict=True):
        assert line.startswith(f"{path}: {expected.split('-7')[0]}")


def test_a_part_beyond_the_end_is_an_error(cli: Cli, recording: Path) -> None:
    result = cli("transcribe", recording, *DEMO, "--clip-timestamps", "100,110")
    assert (result.status, result.stdout) == (1, "")
    assert "the part from 100 s on is beyond its end\nhint: it has " in result.stderr


def test_a_named_pipe_is_an_input(cli: Cli, recording: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=lambda: pipe.write_bytes(recording.read_bytes()))
    writer.start()
    result = cli("transcribe", pipe, *DEMO)
    writer.join()
    assert result.status == 0
    assert result.stdout == cli("transcribe", recording, *DEMO).stdout


def test_a_growing_file_is_read_once_it_rests(
    cli: Cli, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, growing = recording.read_bytes(), tmp_path / "growing.wav"
    growing.write_bytes(data[: len(data) // 2])
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        growing.write_bytes(data[: len(data) // 2 + 1000 * len(waits)])

    monkeypatch.setattr("whisper_npu_cli.audio.encoded.sleep", wait)
    result = cli("transcribe", growing, *DEMO, "--follow", "--json")
    assert result.status == 0
    assert growing.read_bytes() == data
    assert sum(waits) > 10
    assert result.document["results"][0]["damage"] == []


def test_all_tracks_of_one_are_the_file_itself(cli: Cli, recording: Path, tmp_path: Path) -> None:
    result = cli("transcribe", recording, *DEMO, "--track", "all", "-f", "txt", "-o", tmp_path)
    assert result.status == 0
    assert (tmp_path / "digits.txt").exists()
