"""The command line in this process: engines load faster than a new interpreter starts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from whisper_npu_cli.cli.app import main

MAIN = "from whisper_npu_cli.cli.app import main; main()"  # the program in a new interpreter


@dataclass(frozen=True)
class Result:
    """What a run of the command left behind."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document


Cli = Callable[..., Result]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run `whisper-npu` with arguments."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["whisper-npu", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        stdout, stderr = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, stdout, stderr)

    return run
