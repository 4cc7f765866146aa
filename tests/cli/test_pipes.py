"""`whisper-npu transcribe -` on a pipe that is open: by real writers, with real signals."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.cli.conftest import MAIN, Cli
from tests.support.digits import compose_clips
from whisper_npu_cli.dims import SAMPLE_RATE

DEMO = ("--model", "demo", "--beam-size", "none")
BYTES_PER_S = 2 * SAMPLE_RATE
FIRST_S = 100  # enough for each way to have decided a window


@pytest.fixture(scope="module")
def talk() -> bytes:
    """A wav as ffmpeg writes it into a pipe; its loudest moment is in its first window."""
    samples = [clip.samples / 4 for clip in compose_clips(20)]
    samples[0] *= 2
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(samples), SAMPLE_RATE, format="WAV")
    data = bytearray(file.getvalue())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert len(data) > 1.3 * FIRST_S * BYTES_PER_S
    return bytes(data)


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-c", MAIN, "transcribe", "-", *DEMO, *options),
            *("-f", "txt", "-o", folder),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def read_rest(process: subprocess.Popen[bytes]) -> tuple[str, str]:
    assert process.stdout is not None
    assert process.stderr is not None
    printed, errors = process.stdout.read().decode(), process.stderr.read().decode()
    process.wait()
    return printed, errors


def transcribe(cli: Cli, data: bytes, folder: Path, *options: str) -> str:
    """Return what is printed of a file with `data`."""
    (path := folder / "talk.wav").write_bytes(data)
    result = cli("transcribe", path, *DEMO, *options)
    assert result.status == 0
    return result.stdout


@pytest.mark.parametrize("long_form", ["auto", "sequential", "batched"])
def test_what_arrives_is_printed_before_the_rest_is_there(
    cli: Cli, talk: bytes, long_form: str, tmp_path: Path
) -> None:
    n_first = FIRST_S * BYTES_PER_S
    with start(tmp_path, "--long-form", long_form) as process:
        write(process, talk[:n_first])
        assert process.stdout is not None
        first = process.stdout.readline().decode()
        assert first.startswith("[00:")
        write(process, talk[n_first:])
        assert process.stdin is not None
        process.stdin.close()
        rest, errors = read_rest(process)
    assert process.returncode == 0, errors
    assert first + rest == transcribe(cli, talk, tmp_path, "--long-form", long_form)
    written = (tmp_path / "stdin.txt").read_text().splitlines()
    assert written == [line.split("] ", 1)[1].strip() for line in (first + rest).splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_finishes_what_has_arrived(
    cli: Cli, talk: bytes, number: signal.Signals, tmp_path: Path
) -> None:
    data = talk[: FIRST_S * BYTES_PER_S]
    with start(tmp_path) as process:
        write(process, data)
        assert process.stdout is not None
        first = process.stdout.readline().decode()
        process.send_signal(number)  # and the pipe stays open
        rest, errors = read_rest(process)
    assert process.returncode == 128 + number
    assert "interrupted: transcribing what has arrived" in errors
    assert "interrupted: 1 of 1 inputs are complete" in errors
    assert first + rest == transcribe(cli, data, tmp_path)
    assert (tmp_path / "stdin.txt").exists()


def test_a_file_as_standard_input_is_a_file(cli: Cli, talk: bytes, tmp_path: Path) -> None:
    printed = transcribe(cli, talk, tmp_path)
    with (tmp_path / "talk.wav").open("rb") as file:
        redirected = subprocess.run(
            [sys.executable, "-c", MAIN, "transcribe", "-", *DEMO],
            stdin=file,
            capture_output=True,
            text=True,
            check=True,
        )
    assert redirected.stdout == printed
