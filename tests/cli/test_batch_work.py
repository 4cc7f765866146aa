"""`whisper-npu transcribe` on many files: --resume, Ctrl-C and kill, with real signals."""

from __future__ import annotations

import json
import os
import shutil
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
from whisper_npu_cli.writers import make_writers

SEQUENTIAL = ("--model", "demo", "--beam-size", "none", "--long-form", "sequential")


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """A file of several windows, and a short one."""
    clips = [clip.samples for clip in compose_clips(16)]
    paths = [tmp_path / "long.wav", tmp_path / "short.wav"]
    soundfile.write(paths[0], np.concatenate(clips), SAMPLE_RATE)
    soundfile.write(paths[1], clips[0], SAMPLE_RATE)
    return paths


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "transcribe", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_ctrl_c_writes_what_there_is_and_resume_finishes(
    cli: Cli, inputs: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = (*inputs, *SEQUENTIAL, "-f", "txt", "-o", out)
    with start(*options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        heading, first = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGINT)
        # not communicate(), which does not know what readline() left in its buffer
        rest, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130
    assert heading.startswith("==> ")
    assert names(out) == {"long.partial.txt", "long.partial.progress"}
    printed = [line.split("] ", 1)[1].strip() for line in (first + rest).splitlines()]
    assert (out / "long.partial.txt").read_text().splitlines() == printed
    assert "interrupted: 0 of 2 inputs are complete" in errors
    assert f"{out / 'long.partial.txt'}: up to 0" in errors
    assert "; the same command with --resume goes on\n" in errors

    resumed = cli("transcribe", *options, "--resume", "--json")
    assert resumed.status == 0
    assert names(out) == {"long.txt", "short.txt"}
    complete = (out / "long.txt").read_text().splitlines()
    assert complete[: len(printed)] == printed
    assert len(complete) > len(printed)
    whole, resumed_long = (
        run.document["results"][0]
        for run in (cli("transcribe", inputs[0], *SEQUENTIAL, "--json"), resumed)
    )
    assert resumed_long["segments"] == whole["segments"]
    assert resumed_long["language_probs"] == whole["language_probs"]
    assert 0 < len(resumed_long["windows"]) < len(whole["windows"])

    again = cli("transcribe", *options, "--resume", "--json", "-m", "none-such")  # nor is it loaded
    assert again.status == 0
    assert [result["skipped"] for result in again.document["results"]] == [True, True]
    assert f"{inputs[0]}: complete, skipped" in again.stderr


def test_ctrl_c_writes_what_there_is_of_both_channels(inputs: list[Path], tmp_path: Path) -> None:
    out, long = tmp_path / "out", inputs[0]
    samples = soundfile.read(long, dtype="float32")[0]
    soundfile.write(long, np.stack([samples, samples[::-1]], axis=1), SAMPLE_RATE)
    with start(long, *SEQUENTIAL, "--speakers", "channels", "-f", "txt", "-o", out) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert names(out) == {"long.partial.txt"}  # of channels none goes on
    printed = [line.split("] ", 1)[1].replace(":  ", ": ") for line in (first + rest).splitlines()]
    assert (out / "long.partial.txt").read_text().splitlines() == printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_a_run_as_ctrl_c_does(
    inputs: list[Path], tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    with start(inputs[0], *SEQUENTIAL, "-f", "txt", "-o", out) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        process.stdout.read()
    assert process.returncode == 128 + number
    assert names(out) == {"long.partial.txt", "long.partial.progress"}


def test_a_batch_is_given_up_and_decoded_by_resume(
    cli: Cli, inputs: list[Path], tmp_path: Path
) -> None:
    options = (inputs[0], "-m", "demo", "--long-form", "batched", "--batch-size", "2", "-f", "json")
    with start(*options, "-o", tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 130
    partial = json.loads((tmp_path / "long.partial.json").read_text())
    assert cli("transcribe", *options, "-o", tmp_path, "--resume").status == 0
    resumed = json.loads((tmp_path / "long.json").read_text())
    assert cli("transcribe", *options, "-o", tmp_path / "whole").status == 0
    assert resumed == json.loads((tmp_path / "whole" / "long.json").read_text())
    n_partial = len(partial["segments"])
    assert 0 < n_partial < len(resumed["segments"])
    assert partial["segments"] == resumed["segments"][:n_partial]


def test_resume_begins_anew_where_the_options_are_others(
    cli: Cli, inputs: list[Path], tmp_path: Path
) -> None:
    options = (inputs[0], *SEQUENTIAL, "-f", "txt", "-o", tmp_path)
    with start(*options) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    result = cli("transcribe", *options, "--resume", "--temperature", "0.2")
    assert result.status == 0
    assert f"{inputs[0]}: begins anew: the input, model or options have changed" in result.stderr
    assert not (tmp_path / "long.partial.progress").exists()


def test_what_has_arrived_through_a_pipe_is_transcribed(inputs: list[Path], tmp_path: Path) -> None:
    data = inputs[1].read_bytes()
    assert len(data) > 1 << 16
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "transcribe", "-", *SEQUENTIAL, "-f", "txt", "-o", tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        while b"loaded" not in process.stderr.readline():
            pass
        # More than a pipe holds: it is being read. And it stays open, as that of a recorder.
        process.stdin.write(data)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        printed, errors = process.stdout.read().decode(), process.stderr.read().decode()
    assert process.returncode == 130
    assert "interrupted: transcribing what has arrived" in errors
    written = (tmp_path / "stdin.txt").read_text().splitlines()
    assert written == [line.split("] ", 1)[1].strip() for line in printed.splitlines()]
    assert written


def test_a_killed_run_leaves_whole_files_only(inputs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    long, short = inputs
    with start(short, long, *SEQUENTIAL, "-f", "all", "-o", out) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == f"==> {long} <==\n":
                break
        process.stdout.readline()  # the first segment of the second input
        process.kill()
    assert names(out) == {f"short.{suffix}" for suffix in make_writers()}


def test_resume_redoes_what_is_missing_or_older_than_the_input(
    cli: Cli, inputs: list[Path], tmp_path: Path
) -> None:
    short = inputs[1]
    options = ("transcribe", short, "-m", "demo", "-o", tmp_path / "out", "--resume", "--json")

    def is_skipped() -> bool:
        (result,) = cli(*options).document["results"]
        assert result["complete"]
        return result.get("skipped", False)

    assert not is_skipped()
    assert is_skipped()
    (tmp_path / "out" / "short.srt").unlink()
    assert not is_skipped()
    changed = short.stat().st_mtime + 60
    os.utime(short, (changed, changed))
    assert not is_skipped()


def test_resume_needs_files(cli: Cli, inputs: list[Path]) -> None:
    result = cli("transcribe", *inputs, "-m", "demo", "--resume")
    assert (result.status, result.stdout) == (2, "")
    assert "--output-format" in result.stderr


def test_what_is_written_mirrors_the_folder_and_stays_as_it_grows(
    cli: Cli, inputs: list[Path], tmp_path: Path
) -> None:
    folder, out = tmp_path / "talks", tmp_path / "out"
    options = ("transcribe", folder, "-m", "demo", "-f", "txt", "-o", out, "--resume", "--json")
    for name in ("t.wav", "monday/t.wav", "monday/late/t.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(inputs[1].read_bytes())
        results = cli(*options).document["results"]
        assert sum("skipped" not in result for result in results) == 1  # the new one alone
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert written == {"t.txt", "monday/t.txt", "monday/late/t.txt"}


def test_the_longest_names_are_written(cli: Cli, inputs: list[Path], tmp_path: Path) -> None:
    for name in ("ä" * 125 + "b.wav", "ä" * 125 + "c.wav"):  # 255 bytes
        (tmp_path / name).write_bytes(inputs[1].read_bytes())
    paths = sorted(tmp_path.glob("ä*"))
    result = cli("transcribe", *paths, "-m", "demo", "-f", "all", "-o", tmp_path / "out")
    assert result.status == 0
    assert len(names(tmp_path / "out")) == 2 * len(make_writers())


def test_shards_write_each_input_once_under_the_names_of_the_whole(
    cli: Cli, inputs: list[Path], tmp_path: Path
) -> None:
    twin = tmp_path / "twin" / "short.wav"  # its name depends on the other
    twin.parent.mkdir()
    twin.write_bytes(inputs[1].read_bytes())
    paths, out = [*inputs, twin], tmp_path / "out"
    options = (*paths, *SEQUENTIAL, "-f", "txt", "--json")
    whole = cli("transcribe", *options, "-o", tmp_path / "whole").document["results"]
    parts = [
        cli("transcribe", *options, "-o", out, "--shard", f"{k}/3").document["results"]
        for k in (1, 2, 3)
    ]
    assert sorted(one["path"] for part in parts for one in part) == sorted(map(str, paths))
    assert {one["path"]: one["text"] for part in parts for one in part} == {
        one["path"]: one["text"] for one in whole
    }
    assert names(out) == names(tmp_path / "whole")


@pytest.mark.parametrize("beside", [True, False])
def test_what_killed_runs_left_goes_from_every_folder_of_outputs(
    cli: Cli, inputs: list[Path], tmp_path: Path, *, beside: bool
) -> None:
    folders = [tmp_path / "in" / name for name in ("one", "two")]
    options = ("--beside",) if beside else ("-o", tmp_path / "out")
    outputs = folders if beside else [tmp_path / "out" / folder.name for folder in folders]
    for folder in {*folders, *outputs}:
        folder.mkdir(parents=True)
    for folder in folders:
        shutil.copy(inputs[1], folder / "a.wav")
    left = [folder / f".whisper-npu-{16 * 'a'}" for folder in outputs]
    for path in left:
        path.write_text("half")
        os.utime(path, (0, 0))
    result = cli("transcribe", tmp_path / "in", "-m", "demo", "-f", "txt", *options)
    assert result.status == 0
    assert all((folder / "a.txt").exists() for folder in outputs)
    assert not any(path.exists() for path in left)
