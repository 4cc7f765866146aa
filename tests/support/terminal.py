"""The program on a terminal: a pseudo-terminal of a given size, and what it was sent."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress

MAIN = "from whisper_npu_cli.cli.app import main; main()"  # the program in a new interpreter
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run_on_terminal(columns: int, *arguments: object, rows: int = 24) -> tuple[int, list[str]]:
    """Run the program with stdout and stderr on one terminal; return its status and the lines.

    Colours and movements of the cursor are left out. What a line is overwritten with is a line.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    sized = {"COLUMNS", "LINES"}  # which rich believes before the terminal
    environment = {k: v for k, v in os.environ.items() if k not in sized} | {"TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        sent = b"".join(_read(ours))
    os.close(ours)
    text = _CONTROL.sub("", sent.decode())
    return process.returncode, re.split(r"[\r\n]+", text)


def _read(terminal: int) -> Sequence[bytes]:
    parts: list[bytes] = []
    with suppress(OSError):  # that nobody has the other end any more
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    return parts
