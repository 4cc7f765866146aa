"""The program where standard streams are full or closed, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import MAIN
from tests.support.places import ROOT

FULL = Path("/dev/full")
SAMPLES = sorted(map(str, (ROOT / "samples").glob("*.wav")))
DEMO = ("--model", "demo", "--beam-size", "none")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="Linux has a disk that is full")


def run(shell: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program with redirections of a shell."""
    command = f'exec "$@" {shell}'
    return subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-c", MAIN, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@needs_full
@pytest.mark.parametrize(
    "arguments", [("--help",), ("models", "list"), ("transcribe", SAMPLES[0], *DEMO, "--json")]
)
def test_a_full_disk_behind_stdout_is_one_line(arguments: tuple[str, ...]) -> None:
    result = run("> /dev/full", *arguments)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    assert lines.count("error: standard output: cannot be written: No space left on device") == 1
    assert "Exception" not in result.stderr


@needs_full
def test_files_are_written_though_stdout_is_full(tmp_path: Path) -> None:
    files = ("-f", "txt", "-o", str(tmp_path))
    result = run("> /dev/full", "transcribe", *SAMPLES[:2], *DEMO, *files)
    assert result.returncode == 1
    assert result.stderr.count("error: ") == 1
    expected = {f"{Path(name).stem}.txt" for name in SAMPLES[:2]}
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_text_is_printed_though_stderr_is_closed() -> None:
    closed, plain = (
        run("2>&-", "transcribe", SAMPLES[0], *DEMO),
        run("", "transcribe", SAMPLES[0], *DEMO),
    )
    assert (closed.returncode, closed.stderr) == (0, "")
    assert closed.stdout == plain.stdout
    assert closed.stdout.startswith("[00:")


def test_closed_stdin_is_empty_and_closed_stdout_is_nobody() -> None:
    result = run("<&-", "transcribe", "-", *DEMO)
    assert result.returncode == 1
    assert "error: standard input: empty (0 bytes)" in result.stderr
    assert run(">&-", "transcribe", SAMPLES[0], *DEMO).returncode == 0
