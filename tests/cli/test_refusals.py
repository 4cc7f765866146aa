"""What the system refuses a run is told in a line, and costs no output that is there."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.places import SAMPLES
from whisper_npu_cli.cli.outputs import Outputs

SAMPLE = SAMPLES / "lucas-1-6-1-8-0.wav"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files", "a.py"), "a.py: Too many open files"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (OSError(errno.ENFILE, "Too many open files in system"), "Too many open files in system"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory"),
        (OSError(errno.ENODEV, "No such device"), "No such device"),
        (OSError("libtbb.so: cannot allocate memory"), "libtbb.so: cannot allocate memory"),
        (RuntimeError("can't start new thread"), "no thread can be started"),
        (RuntimeError("tbb:\nResource temporarily unavailable\n"), "no thread can be started"),
        (MemoryError(), "out of memory"),
        (SystemError("error return without exception set"), "out of memory"),
    ],
)
def test_what_the_system_refuses_is_a_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def refuse(_: Outputs) -> None:
        raise error

    monkeypatch.setattr(Outputs, "prepare_folders", refuse)
    result = cli("transcribe", SAMPLE, "--model", "demo")
    assert result.status == 1
    told = [line for line in result.stderr.splitlines() if not line.startswith("hint: ")]
    assert told == [f"error: {words}"]


def test_another_exception_is_a_bug_and_is_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Outputs) -> None:
        raise RuntimeError("of ours")

    monkeypatch.setattr(Outputs, "prepare_folders", fail)
    with pytest.raises(RuntimeError, match="of ours"):
        cli("transcribe", SAMPLE, "--model", "demo")


def test_a_partial_output_that_cannot_be_removed_is_told(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        result = cli("transcribe", SAMPLE, "--model", "demo", "-f", "txt", "-o", tmp_path)
    assert result.status == 1
    assert "partial.txt: cannot be removed: Permission denied" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [f"{SAMPLE.stem}.txt"]
