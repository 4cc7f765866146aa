"""Programs in processes of their own: each keeps its model loaded and waits for files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from programs import Ask

HERE = Path(__file__).parent


class Worker:
    """A program with a loaded model; a context manager. Between two files it only waits."""

    def __init__(self, python: str, program: str, **arguments: Any) -> None:
        """Load; `arguments` are those of the program's class."""
        command = [python, str(HERE / "programs.py"), json.dumps({"program": program} | arguments)]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions: dict[str, str] = self._reply()

    def transcribe(self, ask: Ask) -> dict[str, Any]:
        """Return `segments`, the `seconds` that they took, and `peak_mb` of memory so far."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(vars(ask)) + "\n")
        self._child.stdin.flush()
        return self._reply()

    def close(self) -> None:
        """End the process."""
        self._child.communicate()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reply(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit(f"{self._child.args[2]}: it ended; see above")
        reply: dict[str, Any] = json.loads(line)
        return reply


def convert(python: str, program: str, source: Path, output: Path, *options: str) -> None:
    """Run `conversions.py` in a process of its own: what it needs is no program's memory."""
    command = [python, str(HERE / "conversions.py"), program, str(source), str(output), *options]
    subprocess.run(command, check=True, stdout=sys.stderr)
