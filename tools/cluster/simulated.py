"""Workers that sleep for as long as a recording would take, many more than this machine has."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from distributed import Client, LocalCluster, get_worker

from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.cli.outputs import OutputOptions, Outputs
from whisper_npu_cli.cli.run import Run
from whisper_npu_cli.cluster.fleet import Fleet
from whisper_npu_cli.cluster.settings import ClusterOptions
from whisper_npu_cli.cluster.tasks import Outcome, Setup, Task
from whisper_npu_cli.cluster.worker import BEGUN
from whisper_npu_cli.options import EngineOptions, SubtitleLayout, TranscribeOptions
from whisper_npu_cli.timings import Timings
from whisper_npu_cli.transcript import Result, Segment, Transcript, TranscriptionInfo

MEAN_AUDIO_S = 1800.0  # 10,000 h in 20,000 files
_SEGMENT = Segment(0, 0, 0.0, 3.0, " one two three four", (1, 2, 3, 4), 0.0, -0.2, 1.0, 0.0, "en")
_SEGMENTS = (_SEGMENT,) * 20
_SETUP = Setup("simulated", EngineOptions(), offline=True, versions={}, fingerprint="")


def sleep(_setup: Setup, task: Task, key: str) -> Outcome:
    """Take the time that the recording's name tells, and return some text."""
    worker = get_worker()
    worker.log_event(BEGUN, key)
    seconds = float(Path(task.path).stem.partition("-")[2])
    time.sleep(seconds)
    transcript = Transcript("en", MEAN_AUDIO_S, _SEGMENTS)
    result = Result(
        transcript, Timings(MEAN_AUDIO_S, seconds, ()), (), (), "batched", is_complete=True
    )
    info = TranscriptionInfo(MEAN_AUDIO_S, "en", {}, "batched")
    return Outcome(worker.address, "simulated", info=info, result=result)


@dataclass(frozen=True)
class Simulated:
    """How busy the workers were, and what the client held."""

    n_workers: int
    n_files: int
    mean_s: float
    wall_s: float
    busy: float
    early_mb: float  # memory when a tenth was done
    late_mb: float


def simulate(folder: Path, n_workers: int, n_files: int, target_s: float) -> Simulated:
    """Give `n_files` to the workers, of a length that takes about `target_s` in all."""
    rng, mean_s = random.Random(0), target_s * n_workers / n_files
    lengths = [mean_s * rng.uniform(0.5, 1.5) for _ in range(n_files)]
    folder.mkdir()
    sources = []
    for i, seconds in enumerate(lengths):
        path = folder / f"{i:05}-{seconds:.4f}.wav"
        path.write_bytes(b"-")
        sources.append(FileSource(path))
    options = OutputOptions(output_format="txt", output_dir=folder / "out", quiet=True)
    outputs = Outputs(sources, options, SubtitleLayout())
    run = Run(sources, _SETUP.model, TranscribeOptions(), outputs)
    seen: list[float] = []

    class Watched(Fleet):
        def transcribe_each(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            for one in super().transcribe_each(*args, **kwargs):
                yield one
                if self.tally.n_inputs in (n_files // 10, n_files):
                    seen.append(_read_memory_mb())

    command = [sys.executable, "-m", "tools.cluster.simulated", str(n_workers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as far:
        assert far.stdout is not None
        with Client(far.stdout.readline().strip(), set_as_default=False) as client:
            start = time.perf_counter()
            run.add_all(Watched(client, _SETUP, print, ClusterOptions(), sleep))
            wall_s = time.perf_counter() - start
        far.communicate("")
    busy = sum(lengths) / (n_workers * wall_s)
    return Simulated(n_workers, n_files, mean_s, wall_s, busy, *seen)


def _read_memory_mb() -> float:
    n_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return n_pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Have workers of threads in this process until stdin ends."""
    with LocalCluster(
        n_workers=int(sys.argv[1]),
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
