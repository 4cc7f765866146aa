"""Programs in processes of their own, each of which keeps its model loaded and waits for files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.places import ROOT
from tools.peers.programs import Ask

Text = tuple[str, str]  # language, text

# The command line of the checkout in the working folder, as a child process.
WHISPER_NPU = [sys.executable, "-c", "from whisper_npu_cli.cli.app import main; main()"]


class Worker:
    """A program with a loaded model, as a context manager. Between two files it only waits."""

    def __init__(self, python: str, program: str, **arguments: Any) -> None:
        """Load; `arguments` are those of the program's class."""
        command = _make_command(python, "programs", json.dumps({"program": program} | arguments))
        self._program = program
        self._child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions: dict[str, str] = self._read_reply()

    def transcribe(self, ask: Ask) -> dict[str, Any]:
        """Return `segments`, the `seconds` that they took, and `peak_mb` of memory so far."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(vars(ask)) + "\n")
        self._child.stdin.flush()
        return self._read_reply()

    def close(self) -> None:
        """End the process."""
        self._child.communicate()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_reply(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            self.close()
            raise SystemExit(f"{self._program}: it ended; see above")
        reply: dict[str, Any] = json.loads(line)
        return reply


def convert(python: str, program: str, source: Path, output: Path, *options: str) -> None:
    """Run `conversions.py` in a process of its own, so that its memory counts for no program."""
    command = _make_command(python, "conversions", program, str(source), str(output), *options)
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)


def normalize(python: str, texts: Sequence[Text]) -> dict[Text, list[str]]:
    """Return the words of each text as `normalization.py` writes them."""
    command = _make_command(python, "normalization")
    done = subprocess.run(
        command, cwd=ROOT, check=True, input=json.dumps(texts), stdout=subprocess.PIPE, text=True
    )
    return dict(zip(texts, map(str.split, json.loads(done.stdout)), strict=True))


def _make_command(python: str, name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module beside this one in the checkout.

    `python` may have only the peers installed.
    """
    return [python, "-m", f"tools.peers.{name}", *arguments]
