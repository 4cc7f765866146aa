"""What is done to a cluster while it works, and what must be there at the end: every text, once."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.processes import (
    MAIN,
    Machines,
    choose,
    finish,
    kill,
    list_texts,
    machines,
    start_command,
    wait_for,
)

_MODEL = ("--model", "demo", "--device", "cpu", "--threads", 1)
_KILL_EVERY_S = 5
_N_WORKERS = 2
_DISK_BYTES = 400_000  # of 4 KiB a file: a third of 300


@dataclass(frozen=True)
class Fault:
    """What came of a run with a fault."""

    name: str
    n_right: int
    n_inputs: int
    statuses: list[int]
    told: str

    def describe(self) -> str:
        """Return the row of the table."""
        statuses = ", then ".join(map(str, self.statuses))
        return f"| {self.name} | {self.n_right} of {self.n_inputs} | {statuses} | {self.told} |"


class Trial:
    """Inputs of known texts, and a place for what is written of them."""

    def __init__(self, folder: Path, samples: Path, n_inputs: int) -> None:
        self.inputs, self.out = folder / "inputs", folder / "out"
        self._folder = folder
        self.inputs.mkdir(parents=True)
        recordings = sorted(samples.glob("*.wav"))
        for i in range(n_inputs):
            shutil.copy(recordings[i % len(recordings)], self.inputs / f"{i:04}.wav")
        first = folder / "first"
        command = ["transcribe", *map(str, recordings), *map(str, _MODEL), "-f", "txt", "-q"]
        subprocess.run(
            [sys.executable, "-c", MAIN, *command, "-o", first], check=True, capture_output=True
        )
        texts = [text for _, text in sorted(list_texts(first).items())]
        self._expected = {f"{i:04}.txt": texts[i % len(texts)] for i in range(n_inputs)}

    def run(
        self,
        name: str,
        hurt: Callable[[Trial, Machines, subprocess.Popen[str]], None],
        *,
        resumes: bool,
    ) -> Fault:
        """Transcribe while `hurt` does its work; where it ends the command, go on once."""
        statuses, reasons = list[int](), list[str]()
        for attempt in range(1 + resumes):
            with machines(self._folder, _N_WORKERS, 18_786 + attempt) as there:
                options = [*_MODEL, "-f", "txt", "-o", self.out, "--resume"]
                command = start_command(self.inputs, *options, "--cluster", there.address)
                if attempt == 0:
                    hurt(self, there, command)
                status, told = finish(command)
                statuses.append(status)
                reasons.append(told)
        written = list_texts(self.out)
        n_right = sum(written.get(name) == text for name, text in self._expected.items())
        extra = len(list(self.out.iterdir())) - len(written)
        if extra:
            reasons.append(f"{extra} other files")
        self.clear()
        return Fault(name, n_right, len(self._expected), statuses, "; ".join(filter(None, reasons)))

    def clear(self) -> None:
        """Remove what was written."""
        subprocess.run(["umount", self.out], check=False, capture_output=True)
        shutil.rmtree(self.out)

    @property
    def n_inputs(self) -> int:
        """Number of the inputs."""
        return len(self._expected)


def kill_workers(trial: Trial, there: Machines, command: subprocess.Popen[str]) -> None:
    """End a worker every few seconds."""
    wait_for(trial.out, 1, command)
    n = 0
    while command.poll() is None:
        for worker in choose(there.find_workers(), n):
            kill(worker)
        n += 1
        time.sleep(_KILL_EVERY_S)


def freeze_worker(trial: Trial, there: Machines, command: subprocess.Popen[str]) -> None:
    """Stop a worker in the middle of a file; nobody lets it go on."""
    wait_for(trial.out, trial.n_inputs // 10, command)
    for worker in choose(there.find_workers(), 0):
        kill(worker, signal.SIGSTOP)


def fill_disk(trial: Trial, _there: Machines, command: subprocess.Popen[str]) -> None:
    """Wait for the end, on a disk that was too small, and give it more space."""
    command.wait()
    size = f"remount,size={100 * _DISK_BYTES}"
    subprocess.run(["mount", "-o", size, trial.out], check=True)


def mount_small_disk(trial: Trial) -> None:
    """Let the outputs be on a disk that takes a third of them; needs root."""
    trial.out.mkdir()
    size = f"size={_DISK_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", trial.out], check=True)


def end_scheduler(trial: Trial, there: Machines, command: subprocess.Popen[str]) -> None:
    """End the scheduler when half is done."""
    wait_for(trial.out, trial.n_inputs // 2, command)
    there.scheduler.kill()


def measure_faults(folder: Path, samples: Path, n_inputs: int) -> list[Fault]:
    """Return what came of each fault."""
    trial = Trial(folder, samples, n_inputs)
    kills = f"kill -9 of a worker every {_KILL_EVERY_S} s"
    found = [
        trial.run(kills, kill_workers, resumes=False),
        trial.run("a worker freezes (SIGSTOP)", freeze_worker, resumes=False),
        trial.run("the scheduler is killed and started again", end_scheduler, resumes=True),
    ]
    mount_small_disk(trial)
    found.append(trial.run("the client's disk is full", fill_disk, resumes=True))
    return found
