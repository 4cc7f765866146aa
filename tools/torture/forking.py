"""A process that has imported the program and forks it for each run, which saves half a second.

What a run does differs in this alone: its modules are there already, and no thread. `Nursery` is
the side of the campaign, `main` that of the process.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from time import monotonic

from tools.torture.command import FLAG, Home, Running
from tools.torture.shim import Fault

_MAIN = "from tools.torture.forking import main; main()"
_ALONE = {"OPENBLAS_NUM_THREADS": "1"}  # else importing NumPy starts threads
_MODULES = (
    *("cli.app", "pipeline", "writers", "cli.run", "audio.isolated", "audio.encoded"),
    *("engines.numba_decoder.decoder", "engines.openvino_encoder.encoder", "serve.run"),
)


class Nursery:
    """The process of a home, which runs one command at a time."""

    def __init__(self, home: Home, more: Mapping[str, str] | None = None) -> None:
        self.home = home
        self._last: Running | None = None
        home.reset_flag()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAIN],
            env=home.environment(_ALONE | dict(more or {})),
            cwd=home.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, and its command if that goes on."""
        if self._last is not None and self._last.process.poll() is None:
            self._last.end()
        self._requests.close()
        self._process.wait()
        self._answers.close()

    def start(self, arguments: Sequence[object], fault: Fault | None = None) -> Running:
        """Start a command, with a fault where the process was given the shim."""
        self.home.reset_flag()
        if fault is not None:
            fault.arm(self.home.flag)
        words = [*map(str, arguments)]
        self._requests.write(json.dumps(words).encode() + b"\n")
        self._requests.flush()
        answer = self._answers.readline()
        assert answer, f"the nursery ended with status {self._process.wait()}"
        self._last = Running(self.home, Forked(self, int(answer)))
        return self._last

    def read_status(self, timeout_s: float) -> int | None:
        """Return the exit status of the command, or None where it goes on after a time."""
        if not select.select([self._answers], [], [], timeout_s)[0]:
            return None
        return int(self._answers.readline())


class Forked:
    """A command of a nursery, with what the campaign needs of `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        """Return the exit status, or None."""
        if self.returncode is None:
            self.returncode = self._nursery.read_status(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status; TimeoutExpired after some seconds."""
        deadline = monotonic() + (timeout or 1e9)
        while self.returncode is None:
            if (left_s := deadline - monotonic()) <= 0:
                raise subprocess.TimeoutExpired("whisper-npu", timeout or 0.0)
            self.returncode = self._nursery.read_status(min(left_s, 60.0))
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


def main() -> None:
    """Fork for each line on standard input, and tell the number and then the status of each."""
    for name in _MODULES:
        import_module(f"whisper_npu_cli.{name}")
    n_threads = len(list(Path("/proc/self/task").iterdir()))
    assert n_threads == 1, f"{n_threads} threads, of which a child would have one"
    answers = os.dup(1)
    with Path(os.environ[FLAG]).open("r+b") as file:
        flag = mmap.mmap(file.fileno(), 1)
    for line in sys.stdin.buffer:
        pid = os.fork()
        if pid == 0:  # which answers itself: once it has begun, calls of this process may fail too
            os.write(answers, b"%d\n" % os.getpid())
            os.close(answers)
            _run(json.loads(line))
        _, status = os.waitpid(pid, 0)
        flag[0] = 0
        os.write(answers, b"%d\n" % os.waitstatus_to_exitcode(status))


def _run(arguments: list[str]) -> None:
    """Be the command, in this child."""
    os.setsid()
    flag = Path(os.environ[FLAG])
    home = Home(flag.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path in enumerate((Path(os.devnull), *home.logs)):
        file = os.open(path, flags if number else os.O_RDONLY, 0o644)
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["whisper-npu", *arguments]
    with flag.open("r+b") as begun:
        begun.write(b"\1")
    import_module("whisper_npu_cli.cli.app").main()
