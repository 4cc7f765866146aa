"""A command in a terminal of its own: what it shows, and what is typed into it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

MAIN = "from whisper_npu_cli.cli.app import main; main()"  # the program in a new interpreter
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run_in_terminal(
    command: Sequence[str],
    *,
    n_columns: int = 80,
    typed: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> tuple[int, str]:
    """Run `command` with all its streams on a pseudo-terminal; return exit status and screen."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, n_columns, 0, 0))
    with subprocess.Popen(
        command, env=env, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = b""
        with suppress(OSError):  # how Linux says that nobody has the other end any more
            while data := os.read(ours, 65536):
                shown += data
    os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def run_on_terminal(columns: int, *arguments: object) -> tuple[int, list[str]]:
    """Run the program on a terminal of 24 rows; return its status and the lines.

    Colours and movements of the cursor are left out. What a line is overwritten with is a line.
    """
    sized = {"COLUMNS", "LINES"}  # which rich believes before the terminal
    environment = {k: v for k, v in os.environ.items() if k not in sized} | {"TERM": "xterm"}
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    status, shown = run_in_terminal(command, n_columns=columns, env=environment)
    return status, re.split(r"[\r\n]+", _CONTROL.sub("", shown))
