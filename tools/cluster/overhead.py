"""What a cluster of this machine costs beside the command alone, on the same files."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tools.cluster.processes import finish, start_command

_MINUTE_S = 60
_PAUSE_S = 1.0


@dataclass(frozen=True)
class Run:
    """Seconds of a whole command, and from its first file to its last."""

    total_s: float
    working_s: float


def make_minutes(folder: Path, samples: Path, n_files: int) -> None:
    """Make files of a minute of digits, each with another beginning."""
    folder.mkdir()
    clips = [soundfile.read(path) for path in sorted(samples.glob("*.wav"))]
    rate = clips[0][1]
    pause = np.zeros(int(_PAUSE_S * rate))
    for i in range(n_files):
        turn = [clips[(i + k) % len(clips)][0] for k in range(4 * len(clips))]
        sound = np.concatenate([part for clip in turn for part in (clip, pause)])
        soundfile.write(folder / f"{i:04}.wav", sound[: _MINUTE_S * rate], rate)


def measure(folder: Path, out: Path, *more: object) -> Run:
    """Transcribe a folder; raise RuntimeError where that fails."""
    start = time.perf_counter()
    options = ("--model", "demo", "--device", "cpu", "-f", "txt", "-q", "-o", out)
    status, told = finish(start_command(folder, *options, *more))
    total_s = time.perf_counter() - start
    if status:
        raise RuntimeError(told)
    times = sorted(path.stat().st_mtime for path in out.iterdir())
    shutil.rmtree(out)
    return Run(total_s, times[-1] - times[0])


def measure_overhead(folder: Path, samples: Path, n_files: int, rounds: int) -> list[list[Run]]:
    """Return the runs alone and with a cluster, in turn, so that both meet the same machine."""
    make_minutes(folder, samples, n_files)
    runs: list[list[Run]] = [[], []]
    for _ in range(rounds):
        for kept, more in zip(runs, ((), ("--cluster", "local")), strict=True):
            kept.append(measure(folder, folder.parent / "texts", *more))
    return runs
