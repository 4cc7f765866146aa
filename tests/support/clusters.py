"""Clusters of threads, and stand-ins for what a worker does."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import dask
from distributed import LocalCluster, get_worker

from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.audio.find import Input
from whisper_npu_cli.audio.mel import MelStats
from whisper_npu_cli.cluster.shipping import ShippedFile
from whisper_npu_cli.cluster.tasks import Outcome, Setup, Task
from whisper_npu_cli.cluster.worker import BEGUN
from whisper_npu_cli.errors import AudioError, DeviceError
from whisper_npu_cli.longform.hearing import Survey
from whisper_npu_cli.longform.parts import Cut, DecidedPart, Part
from whisper_npu_cli.longform.windows import Decided, Window
from whisper_npu_cli.options import EngineOptions
from whisper_npu_cli.timings import Timings
from whisper_npu_cli.transcript import Progress, Result, Transcript, TranscriptionInfo

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


def hash_shipped(setup: Setup, task: Task, key: str) -> Outcome:
    """Return the hash of the client's file as the language; end the first process at its middle."""
    outcome = answer(setup, task, key)
    file, digest = ShippedFile(key, get_worker()), sha256()
    while data := file.read(1 << 20):
        digest.update(data)
        marker = Path(task.path).with_suffix(".lost")
        if file.tell() > 2 << 20 and marker.exists():
            marker.unlink()
            os._exit(1)
    assert outcome.result is not None
    transcript = replace(outcome.result.transcript, language=digest.hexdigest())
    return replace(outcome, result=replace(outcome.result, transcript=transcript))


def read_shipped(setup: Setup, task: Task, key: str) -> Outcome:
    """Read the client's file once, remove or change it by its name, and read it once more."""
    file, path = ShippedFile(key, get_worker()), Path(task.path)
    try:
        file.read(1)
        if path.name == "000.wav":
            path.unlink()
        if path.name == "001.wav":
            path.write_bytes(b"changed")
        file.read(1)
    except AudioError as error:
        return Outcome(get_worker().address, error=AudioError(f"{task.name}: {error}"))
    return answer(setup, task, key)


N_PARTS = 12


def cut_slowly(setup: Setup, task: Task, key: str) -> Outcome:
    """Cut 000.wav into parts of a second; 001.wav has one that fails. Others are whole."""
    outcome = answer_slowly(setup, task, key)
    if task.part is not None:
        if task.path.endswith("001.wav") and task.part.number == 1:
            return replace(outcome, result=None, error=AudioError(f"{task.name}: is damaged"))
        end = task.part.windows[-1].end
        part = DecidedPart((Decided((), end),), (), Timings(0.0, 1.0, ()))
        return replace(outcome, result=None, part=part)
    if task.longest_s is None or not task.path.endswith(("000.wav", "001.wav")):
        return outcome
    survey = Survey(MelStats(16_000 * N_PARTS, 0.0), 0.5, (), ())
    parts = [
        Part(i, survey, (Window(100 * i, 100 * i + 100, 100 * i + 100),), "en", {}, is_first=i == 0)
        for i in range(N_PARTS)
    ]
    info = TranscriptionInfo(float(N_PARTS), "en", {}, "batched")
    assert outcome.result is not None
    result = replace(
        outcome.result, transcript=Transcript("en", float(N_PARTS), ()), is_complete=False
    )
    cut = Cut(survey, Progress(0, "en"), tuple(parts))
    return replace(outcome, info=info, result=result, cut=cut)


def die_of_the_third(setup: Setup, task: Task, key: str) -> Outcome:
    """End the process of the worker that gets 002.wav; fail at 003.wav."""
    if task.path.endswith("002.wav"):
        get_worker().log_event(BEGUN, key)
        time.sleep(0.2)  # until that is told
        os._exit(1)
    if task.path.endswith("003.wav"):
        raise RuntimeError("a bug")
    return answer(setup, task, key)
