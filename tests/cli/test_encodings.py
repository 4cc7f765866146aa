"""Characters that stdout's encoding lacks are escaped, and cost no transcript."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import MAIN
from tests.support.places import SAMPLES

SAMPLE = min(SAMPLES.glob("*.wav"))
NAMES = (b"aa.wav", b"caf\xe9.wav", "имя😀.wav".encode())  # the second is no UTF-8


def run(encoding: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "transcribe", *map(str, arguments)],
        env={**os.environ, "PYTHONIOENCODING": f"{encoding}:strict", "COLUMNS": "200"},
        capture_output=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recording under each of NAMES."""
    for name in NAMES:
        shutil.copy(SAMPLE, os.fsencode(tmp_path) + b"/" + name)
    return tmp_path


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_any_name_is_transcribed_and_printed(folder: Path, encoding: str) -> None:
    text = run(encoding, folder, "--model", "demo")
    assert text.returncode == 0, text.stderr
    lines = text.stdout.decode(encoding).splitlines()
    titles = [line for line in lines if line.startswith("==>")]
    assert len(titles) == len(NAMES)
    assert titles[1] == f"==> {folder}/caf\\udce9.wav <=="

    document = run(encoding, folder, "--model", "demo", "--json")
    assert document.returncode == 0, document.stderr
    results = json.loads(document.stdout)["results"]
    assert [os.fsencode(result["path"]) for result in results] == [
        os.fsencode(folder) + b"/" + name for name in NAMES
    ]
    assert ("имя😀".encode() in document.stdout) == (encoding == "utf-8")


def test_help_is_printed_in_any_encoding() -> None:
    result = run("ascii", "--help")
    assert result.returncode == 0, result.stderr
    assert b"tiny ... large-v3-turbo" in result.stdout
