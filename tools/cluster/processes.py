"""Schedulers, workers and commands as processes of this machine, each to be ended or hurt."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

MAIN = "from whisper_npu_cli.cli.app import main; main()"
_DASK = [sys.executable, "-m", "dask"]
_ENVIRONMENT = os.environ | {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "10s"}


def start_command(*arguments: object) -> subprocess.Popen[str]:
    """Start `whisper-npu transcribe` with arguments."""
    command = [sys.executable, "-c", MAIN, "transcribe", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=_ENVIRONMENT
    )


class Machines:
    """A scheduler and workers with nannies, as on machines of their own."""

    def __init__(self, folder: Path, n_workers: int, port: int) -> None:
        self.address = f"tcp://127.0.0.1:{port}"
        self._folder = folder
        self._port = port
        self._n_workers = n_workers
        self._processes: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        """Start all of them."""
        own = ["--port", self._port, "--dashboard-address", "127.0.0.1:0", "--host", "127.0.0.1"]
        self.scheduler = self._start("scheduler", *own)
        preload = ["--preload", "whisper_npu_cli.cluster.worker"]
        about = ["--nthreads", 1, "--memory-limit", 0, "--dashboard-address", "127.0.0.1:0"]
        self._workers = [
            self._start("worker", self.address, *about, *preload) for _ in range(self._n_workers)
        ]

    def find_workers(self) -> list[int]:
        """Return the processes that compute, which the nannies restart."""
        return [child for nanny in self._workers for child in _list_children(nanny.pid)]

    def close(self) -> None:
        """End what was started here."""
        for worker in self.find_workers():
            kill(worker)
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()

    def _start(self, *arguments: object) -> subprocess.Popen[bytes]:
        with (self._folder / "dask.log").open("ab") as log:
            process = subprocess.Popen(
                [*_DASK, *map(str, arguments)],
                stdout=log,
                stderr=log,
                env=_ENVIRONMENT,
                cwd=self._folder,
            )
        self._processes.append(process)
        return process


@contextmanager
def machines(folder: Path, n_workers: int, port: int) -> Iterator[Machines]:
    """Have machines until the end."""
    started = Machines(folder, n_workers, port)
    try:
        yield started
    finally:
        started.close()


def wait_for(folder: Path, n: int, command: subprocess.Popen[str]) -> None:
    """Wait until `n` files are in a folder, or the command has ended."""
    while command.poll() is None and len(list_texts(folder)) < n:
        time.sleep(0.2)


def list_texts(folder: Path) -> dict[str, str]:
    """Return the files of a folder with their texts."""
    return {path.name: path.read_text() for path in folder.glob("*.txt")}


def finish(command: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a command; return its status and its last lines about failures."""
    _, errors = command.communicate()
    errors = re.sub(r"(?<=\s)/\S*/", "", errors)  # folders of this machine
    told = [line for line in errors.splitlines() if re.match(r"error|failed|worker ", line)]
    return command.returncode, "; ".join(dict.fromkeys(told[-3:]))


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _list_children(pid: int) -> list[int]:
    """Return the processes that a nanny has spawned, but for what keeps track of its resources."""
    with suppress(FileNotFoundError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        spawned = (c for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes())
        return [int(child) for child in spawned]
    return []


def choose(processes: Sequence[int], n: int) -> list[int]:
    """Return one of the processes, another at each turn `n`."""
    return [processes[n % len(processes)]] if processes else []
