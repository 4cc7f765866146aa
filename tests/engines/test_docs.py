"""`docs/engines.md` adds an engine; so does this test, in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT, SAMPLES

DOCS = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
MAIN = "from whisper_npu_cli.cli.app import main; main()"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the page's file and row; compiled code comes along."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "whisper_npu_cli", folder / "whisper_npu_cli")
    file, row = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    (path,) = re.findall(r"^`(whisper_npu_cli/\S+\.py)`:$", DOCS, re.MULTILINE)
    assert len(file.splitlines()) <= 35  # 30, and the blank ones between functions
    (folder / path).write_text(file, encoding="utf-8")
    table = folder / "whisper_npu_cli" / "devices.py"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("DEVICES = [\n", f"DEVICES = [\n{row}", 1), encoding="utf-8")
    return folder


def commands() -> list[str]:
    return re.findall(r"^    whisper-npu ([^#\n]*)", DOCS, re.MULTILINE)


@pytest.mark.parametrize("command", commands())
def test_the_page_adds_an_engine(checkout: Path, command: str) -> None:
    arguments = [
        str(path)
        for argument in command.split()
        for path in (sorted(SAMPLES.glob("*.wav"))[:1] if "*" in argument else [argument])
    ]
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        env=os.environ | {"PYTHONPATH": str(checkout)},
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = " ".join((done.stdout + done.stderr).split())
    assert ("half (NumPy on weights" if "--help" in command else "numpy f16") in shown


def test_the_page_has_its_commands() -> None:
    assert [command.split()[0] for command in commands()] == [
        *("transcribe", "transcribe", "doctor")
    ]
