"""Programs in child processes. A script stands for whisper.cpp's command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tools.peers.programs import Ask
from tools.peers.workers import Worker, normalize

WHISPER_CLI = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = -of ] && output=$2; shift; done
echo '{"transcription": [{"text": " a", "tokens": [{"id": 5}, {"id": 50257}]}]}' > "$output.json"
echo 'load time = 1.0 ms' >&2
"""


def test_programs_need_only_the_standard_library_to_start() -> None:
    """The peers' interpreter has none of this program's dependencies; `-S` has none at all."""
    command = [sys.executable, "-S", "-c", "import tools.peers.programs"]
    subprocess.run(command, cwd=ROOT, check=True)


def test_worker_transcribes_one_file_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "whisper-cli"
    binary.write_text(WHISPER_CLI)
    binary.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # the child finds its module from anywhere
    with Worker(sys.executable, "whisper.cpp", model="", n_threads=1, binary=str(binary)) as worker:
        replies = [worker.transcribe(Ask("a.wav")) for _ in range(2)]
    assert [reply["segments"] for reply in replies] == [[{"text": " a", "tokens": [5]}]] * 2
    assert all(reply["peak_mb"] > 0 for reply in replies)


def test_a_program_that_does_not_start_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"whisper\.cpp: it ended"):
        Worker(sys.executable, "whisper.cpp", unknown=1)
    assert "unexpected keyword argument 'unknown'" in capfd.readouterr().err


def test_words_are_those_of_the_interpreter_that_is_asked(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("""#!/bin/sh\ncat > /dev/null; echo '["you are", ""]'\n""")
    python.chmod(0o755)
    texts = [("en", "You're"), ("ru", "...")]
    assert normalize(str(python), texts) == dict(zip(texts, (["you", "are"], []), strict=True))
