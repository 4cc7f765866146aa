"""Clusters of threads, and stand-ins for what a worker does."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import dask
from distributed import LocalCluster, get_worker

from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.audio.find import Input
from whisper_npu_cli.cluster.tasks import Outcome, Setup, Task
from whisper_npu_cli.cluster.worker import BEGUN
from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.options import EngineOptions
from whisper_npu_cli.timings import Timings
from whisper_npu_cli.transcript import Progress, Result, Transcript

SETUP = Setup("demo", EngineOptions(), offline=True, versions={}, fingerprint="")


def start_cluster(*, processes: bool = False) -> LocalCluster:
    with dask.config.set({"distributed.scheduler.worker-ttl": None}):  # where a machine was paused
        return LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=processes,
            protocol="tcp://",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        )


def make_files(folder: Path, n: int) -> Iterator[tuple[Input, Progress | None]]:
    """Yield inputs that no stand-in reads."""
    for i in range(n):
        path = folder / f"{i:03}.wav"
        path.write_bytes(b"-")
        yield FileSource(path), None


def answer(setup: Setup, _task: Task, key: str) -> Outcome:
    """Return a transcript of one second without text."""
    worker = get_worker()
    worker.log_event(BEGUN, key)
    transcript = Transcript("en", 1.0, ())
    timings = Timings(1.0, 0.0, ())
    result = Result(transcript, timings, (), (), "sequential", is_complete=True)
    return Outcome(worker.address, setup.engine.device, result=result)


def answer_slowly(setup: Setup, task: Task, key: str) -> Outcome:
    outcome = answer(setup, task, key)
    time.sleep(0.2)
    return outcome


def fail_on_one_device(setup: Setup, task: Task, key: str) -> Outcome:
    """Fail on one of two workers, the first of the local cluster."""
    worker = get_worker()
    if worker.name == 0:
        return Outcome(worker.address, error=DeviceError("the array hangs"))
    return answer(setup, task, key)


def fail_on_devices(*_: object) -> Outcome:
    return Outcome(get_worker().address, error=DeviceError("the array hangs"))


def die_of_the_third(setup: Setup, task: Task, key: str) -> Outcome:
    """End the process of the worker that gets 002.wav; fail at 003.wav."""
    if task.path.endswith("002.wav"):
        get_worker().log_event(BEGUN, key)
        time.sleep(0.2)  # until that is told
        os._exit(1)
    if task.path.endswith("003.wav"):
        raise RuntimeError("a bug")
    return answer(setup, task, key)
