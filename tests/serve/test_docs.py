"""What docs/serve.md tells people to run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.serving import SAMPLE, TEXT, Served
from whisper_npu_cli.serve.app import list_routes

PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
CURLS = re.findall(r"^    (curl .*)$", PAGE, re.MULTILINE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recording of the page."""
    shutil.copy(SAMPLE, tmp_path / "talk.wav")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("command", CURLS)
@pytest.mark.usefixtures("here")
def test_curl(served: Served, command: str) -> None:
    words = shlex.split(command.replace(ADDRESS, served.url))
    done = subprocess.run([*words, "-sS", "--fail"], capture_output=True, text=True, check=True)
    assert "one six one eight" in done.stdout


@pytest.mark.usefixtures("here")
def test_python(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope: dict[str, object] = {}
    exec(program.replace(ADDRESS, served.url), scope)
    assert capsys.readouterr().out == f"{TEXT}\n{TEXT}"
    scope["client"].close()  # type: ignore[attr-defined]


def test_the_page_names_every_path(served: Served) -> None:
    for route in list_routes(served.server.service):
        assert route.path.replace("{name:path}", "NAME") in PAGE
