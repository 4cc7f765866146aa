"""Every command explains itself, and the README names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
COMMANDS = ["transcribe", "bench", "doctor", "models", "models list", "models pull", "models path"]


def help_of(command: str) -> str:
    program = "from whisper_npu_cli.cli.app import main; main()"
    arguments = [sys.executable, "-c", program, *command.split(), "--help"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout


def test_help_lists_every_command() -> None:
    text = help_of("")
    assert all(command.split()[0] in text for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_help_and_is_documented(command: str) -> None:
    assert "Usage:" in help_of(command)
    assert f"whisper-npu {command.split(maxsplit=1)[0]}" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["transcribe", "bench", "doctor", "models pull"])
def test_command_has_an_example(command: str) -> None:
    assert f"Example: whisper-npu {command.split(maxsplit=1)[0]}" in help_of(command)


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
