"""Every command explains itself with an example, and the README names it."""

from __future__ import annotations

import subprocess
import sys
from itertools import chain
from typing import Any

import pytest
from typer.main import get_command

from tests.cli.conftest import Cli
from tests.support.places import ROOT
from whisper_npu_cli.cli.app import app

README = ROOT / "README.md"


def find_commands(command: Any, *names: str) -> list[str]:
    """Return the commands of the Typer app, with the names of their groups before them."""
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        return [" ".join(names)]
    found = [find_commands(one, *names, name) for name, one in subcommands.items()]
    return list(chain(*found))


COMMANDS = find_commands(get_command(app))


def test_help_lists_every_command(cli: Cli) -> None:
    result = cli("--help")
    assert result.status == 0
    assert all(command.split()[0] in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_help_and_an_example(cli: Cli, command: str) -> None:
    result = cli(*command.split(), "--help")
    assert (result.status, result.stderr) == (0, "")
    assert f"Example: whisper-npu {command}" in result.stdout


def test_options_are_grouped_and_whole_on_a_narrow_terminal(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    printed = cli("transcribe", "--help").stdout
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed
    titles = ["Options:", "Long form:", "Decoding:", "Fallback and silence:", "Engine:"]
    options = ["--multilingual", "--batch-size", "--best-of", "--temperature-increment-on-fallback"]
    places = [printed.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places)
    for option, place, next_place in zip(options, places, places[1:], strict=False):
        assert place < printed.index(f"{option} ") < next_place


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_names_the_command(command: str) -> None:
    assert f"whisper-npu {command.split(maxsplit=1)[0]}" in README.read_text(encoding="utf-8")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from whisper_npu_cli.cli import app; "
        "print([m for m in ('numpy', 'openvino', 'numba', 'pyxrt', 'huggingface_hub', 'rich') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_file_in_place_of_a_command_is_transcribed(cli: Cli) -> None:
    sample = min((ROOT / "samples").glob("*.wav"))
    named = cli("transcribe", sample, "--model", "demo")
    assert cli(sample, "--model", "demo").stdout == named.stdout
    assert cli("trascribe", sample).status == 2


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--model", "Base"), "did you mean base?"),
        (("--model", "whisper-laarge-v3"), "did you mean large-v3?"),
        (("--model", "demo", "--language", "russsian"), "did you mean russian?"),
    ],
)
def test_what_is_nearly_right_is_suggested(cli: Cli, arguments: tuple[str, ...], hint: str) -> None:
    result = cli("transcribe", min((ROOT / "samples").glob("*.wav")), *arguments)
    assert result.status != 0
    assert f"hint: {hint}" in result.stderr


def test_an_address_is_told_how_to_be_piped(cli: Cli) -> None:
    result = cli("transcribe", "https://example.org/talk.ogg", "--model", "demo")
    assert result.status == 1
    assert "curl -sL https://example.org/talk.ogg | whisper-npu transcribe -" in result.stderr
