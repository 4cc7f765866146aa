"""Options from a file and from variables: which goes first, and what is said of wrong ones."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.cli.conftest import MAIN, Cli
from tests.support.places import ROOT
from tests.support.terminal import run_in_terminal
from whisper_npu_cli.cli.app import app

SAMPLE = min((ROOT / "samples").glob("*.wav"))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file, which is empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "whisper-npu" / "config.toml"
    path.parent.mkdir()
    path.touch()
    return path


def read(cli: Cli, *arguments: str) -> dict[str, tuple[Any, str]]:
    """Return the value and the source of each option that is not the default, or of all."""
    options = cli("config", "--json", *arguments).document["options"]
    return {option["option"]: (option["value"], option["source"]) for option in options}


@pytest.mark.usefixtures("file")
def test_every_option_of_transcribe_can_be_set(cli: Cli) -> None:
    command = get_command(app).commands["transcribe"]  # type: ignore[attr-defined]
    typed = {
        name[2:] for param in command.params for name in param.opts if name.startswith("--")
    } - {"json-schema"}
    assert typed == read(cli, "--all").keys()
    assert read(cli) == {}


def test_kinds_of_values(file: Path, cli: Cli) -> None:
    file.write_text(
        'model = "demo"\nword-timestamps = true\nbeam_size = "none"\ntemperature = 0.5\ntrack = 2\n'
        'clip-timestamps = [0, 1.5]\noutput_format = ["srt", "vtt"]\nvad-skip = false\n'
    )
    assert read(cli) == {
        "model": ("demo", "file"),
        "word-timestamps": (True, "file"),
        "beam-size": (None, "file"),
        "temperature": (0.5, "file"),
        "track": ("2", "file"),
        "clip-timestamps": ([0.0, 1.5], "file"),
        "output-format": ("srt,vtt", "file"),
        "vad-skip": (False, "file"),
    }


def test_variables_go_before_the_file(
    file: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('batch-size = 2\nthreads = 1\nlanguage = "de"\nquiet = true\n')
    monkeypatch.setenv("WHISPER_NPU_BATCH_SIZE", "3")
    monkeypatch.setenv("WHISPER_NPU_QUIET", "false")
    monkeypatch.setenv("WHISPER_NPU_LANGUAGE", "")  # as if it were not set
    assert read(cli) == {
        "language": ("de", "file"),
        "batch-size": (3, "environment"),
        "quiet": (False, "environment"),
        "threads": (1, "file"),
    }


def test_the_command_line_goes_before_both(
    file: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('model = "nowhere"\ntext = true\nword-timestamps = true\nquiet = true\n')
    monkeypatch.setenv("WHISPER_NPU_OUTPUT_FORMAT", "nothing")
    monkeypatch.chdir(file.parent)
    command = ("transcribe", SAMPLE, "--model", "demo", "-f", "json", "--word_timestamps", "False")
    assert not cli(*command).stdout.startswith("[")
    assert '"words"' not in (file.parent / f"{SAMPLE.stem}.json").read_text()
    printed = cli(*command, "--no-text", "--no-quiet")
    assert printed.stdout.startswith("[")
    assert "total" in printed.stderr


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("beem_size = 1", "unknown option 'beem_size'\nhint: did you mean beam-size?"),
        ("beam-size = 0", "beam-size: the beam size must be from 1 to 100, not 0"),
        ("beam-size = true", "beam-size: expected text or a number, found true"),
        ('batch-size = "many"', "batch-size: Input should be a valid integer"),
        ('task = "speak"', "task: Value error, 'speak' is not one of"),
        ('vad-skip = "no"', 'vad-skip: expected true or false, found "no"'),
        ("model = {name = 1}", 'model: expected text or a number, found {"name": 1}'),
        ("beam_size = 1\nbeam-size = 2", "beam-size is there twice"),
        ("[transcribe]\nbeam-size = 1", "unknown option 'transcribe'"),
        ("beam-size = " + "9" * 5000, "is not TOML: Exceeds the limit"),
        ("x = " + "[" * 5000, "is not TOML"),
        ("model = demo", "is not TOML: Invalid value (at line 1, column 9)"),
    ],
)
def test_what_is_wrong_in_the_file_is_one_line(
    file: Path, cli: Cli, line: str, phrase: str
) -> None:
    file.write_text(line)
    for command in (("transcribe", SAMPLE), ("config",)):
        result = cli(*command)
        assert (result.status, result.stdout) == (2, "")
        assert result.stderr.startswith(f"error: {file}: {phrase}")
        assert len(result.stderr.splitlines()) <= 2
    assert cli("transcribe", "--help").status == 0


def test_a_file_that_cannot_be_read(file: Path, cli: Cli) -> None:
    file.write_bytes(b'model = "\xff"')
    assert cli("config").stderr == f"error: {file}: cannot be read: not UTF-8\n"
    file.unlink()
    assert cli("config").stdout == f"file: {file} (not there)\nevery option has its default\n"
    file.mkdir()
    assert cli("config").stderr == f"error: {file}: cannot be read: Is a directory\n"


@pytest.mark.parametrize(
    ("name", "value", "phrase"),
    [
        ("BATCH_SIZE", "0", "WHISPER_NPU_BATCH_SIZE: the batch size must be at least 1, not 0"),
        ("BEAM_SIZE", "x", "WHISPER_NPU_BEAM_SIZE: 'x' is neither a whole number nor none"),
        ("QUIET", "perhaps", "WHISPER_NPU_QUIET: Input should be a valid boolean"),
        ("TEMPRATURE", "0", "WHISPER_NPU_TEMPRATURE: no option has that variable"),
    ],
)
def test_what_is_wrong_in_a_variable_is_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, value: str, phrase: str
) -> None:
    monkeypatch.setenv(f"WHISPER_NPU_{name}", value)
    result = cli("transcribe", SAMPLE)
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {phrase}")
    assert len(result.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    "line", ['device = "nope"', 'model = "laarge"', 'language = "xx"', "highlight-words = true"]
)
def test_a_later_error_names_what_nobody_typed(file: Path, cli: Cli, line: str) -> None:
    key = line.partition(" ")[0]
    file.write_text(f'{line}\nhotwords = "unrelated"\n')
    result = cli("transcribe", SAMPLE)
    assert result.status
    assert result.stderr.endswith(f"see {file}: {key}\n")


def test_variables_of_the_program_itself_are_no_options(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPER_NPU_XCLBINS", "/nowhere")  # has no effect with --device cpu
    monkeypatch.setenv("WHISPER_NPU_SIM_FAULTS", "")
    assert cli("transcribe", SAMPLE, "--model", "demo", "--device", "cpu").status == 0


def test_a_table_fits_a_terminal(file: Path) -> None:
    file.write_text(f'initial-prompt = "{"name " * 50}"\ntemperature-increment-on-fallback = 0.1\n')
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "WHISPER_NPU_THREADS": "1"}
    command = [sys.executable, "-c", MAIN, "config"]
    status, shown = run_in_terminal(command, env=env)
    rows = shown.splitlines()[1:]  # without the path of the file
    assert status == 0
    assert max(map(len, rows)) == 80
    assert rows[-1].split() == ["threads", "WHISPER_NPU_THREADS", "1"]


def test_nobody_without_a_home_has_a_file(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", refuse)
    assert cli("config").stdout == "every option has its default\n"
