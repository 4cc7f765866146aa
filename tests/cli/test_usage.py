"""What cannot be meant is one line that says so, and one that says what may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.places import SAMPLES

SAMPLE = min(SAMPLES.glob("*.wav"))
DEMO = ("transcribe", SAMPLE, "--model", "demo", "--quiet")


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ("transcribe x --languag en", "no such option: --languag", "did you mean --language or"),
        ("transcrib x", "no such command 'transcrib'", "did you mean transcribe?; `whisper-npu "),
        ("transcribe x --task sing", "--task: 'sing' is not one of 'transcribe', 'tr", "--help`"),
        ("transcribe x --beam-size x", "--beam-size: 'x' is neither a whole", "`whisper-npu tr"),
        ("transcribe x --temperature 2", "the temperature must be from 0 to 1", ""),
        ("transcribe", "missing argument 'PATH...'", "`whisper-npu transcribe --help` tells more"),
        ("bench --runs 0", "--runs: input should be greater than", "`whisper-npu bench --help`"),
        ("bench --plot b.png", "b.png: charts are written as SVG", "name it b.svg"),
        ("--bogus", "no such option: --bogus", "`whisper-npu --help` tells more"),
        (
            "transcribe x -l en --language-detection-segments 2",
            "--language-detection-segments has no effect where the language is given",
            "leave out --language or",
        ),
        (
            "transcribe x --long-form batched --no-vad-skip",
            "--no-vad-skip has no effect with --long-form batched",
            "leave it out",
        ),
    ],
)
def test_an_error_of_usage_is_a_line_and_a_hint(
    cli: Cli, arguments: str, error: str, hint: str
) -> None:
    result = cli(*arguments.split())
    assert (result.status, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"error: {error}")
    assert not hint or lines[1].startswith("hint: ")
    assert hint in "".join(lines[1:])
    assert len(lines) <= 2


@pytest.mark.parametrize("arguments", ["", "models"])
def test_no_command_is_answered_by_the_help(cli: Cli, arguments: str) -> None:
    result = cli(*arguments.split())
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Usage: {' '.join(['whisper-npu', arguments]).strip()} ")


@pytest.mark.parametrize(
    ("name", "hint"), [("no.wav", "spelling"), ("https://a.example/b", "curl -sL https://a.ex")]
)
def test_an_input_that_is_not_there_is_no_command(cli: Cli, name: str, hint: str) -> None:
    result = cli(name)
    assert result.status == 1
    assert result.stderr.splitlines()[0] == f"error: {name}: no such file"
    assert hint in result.stderr


def test_several_formats_are_all_written(cli: Cli, tmp_path: Path) -> None:
    more = ("-f", "srt", "--output_format=vtt", "-f", "lrc,txt", "-o", tmp_path)
    assert cli(*DEMO, *more).status == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".srt", ".vtt", ".lrc", ".txt"}


def test_a_dash_for_the_folder_prints_the_file(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli(*DEMO, "-o", "one.srt").status == 0
    printed = cli(*DEMO, "-o", "-", "-f", "srt").stdout
    assert [path.name for path in tmp_path.iterdir()] == ["one.srt"]
    assert printed == (tmp_path / "one.srt").read_text()
    assert cli(*DEMO, "-o", "-").stdout == cli(*DEMO, "--text").stdout


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("-o", "a.srt", "-f", "vtt"), "a.srt is to be written as vtt"),
        (("-o", "a.srt", "-f", "srt,vtt"), "a.srt can be in one format alone, not in srt, vtt"),
        (("-o", "a.srt", SAMPLES), "a.srt cannot be written for 4 inputs"),
        (("-o", "-", "-f", "srt", "-f", "vtt"), "- can be in one format alone, not in srt, vtt"),
        (("-o", "-", "--json"), "--json and --text print on stdout, and so does --output-dir -"),
        (("-o", "-", "--resume"), "--resume finds out by the written files"),
    ],
)
def test_an_output_that_cannot_be_meant_is_refused(
    cli: Cli, options: tuple[object, ...], error: str
) -> None:
    result = cli(*DEMO, *options)
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0] == f"error: {error}" or error in result.stderr


def test_a_model_that_is_nowhere_is_not_replaced_by_another(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    result = cli("transcribe", SAMPLE, "--model", "someone/whisper-none", "--offline")
    assert result.status == 1
    assert "demo" not in result.stderr
    assert "models list" in result.stderr
