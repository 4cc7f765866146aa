"""A worker's side: one loaded model for each process, kept between recordings.

    dask worker ADDRESS --nthreads 1 --preload whisper_npu_cli.cluster.worker --resources NPU=1

Dask calls `dask_setup` and `dask_teardown` in a process that preloads this module; a client sends
the name of `transcribe` with a task. A process transcribes one recording at a time, whatever its
threads: they would only wait for the engine.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from threading import Lock

from distributed import Worker, get_worker

from whisper_npu_cli.audio.encoded import EncodedSource
from whisper_npu_cli.audio.isolated import prepare
from whisper_npu_cli.cluster.tasks import Outcome, Setup, Task
from whisper_npu_cli.errors import WhisperNpuError
from whisper_npu_cli.pipeline import Transcriber, Transcription

BEGUN = "whisper-npu-begun"  # the topic of keys of tasks that were begun
NPU = "NPU"  # the resource
# M_TRIM_THRESHOLD and M_MMAP_THRESHOLD: what glibc comes to by itself (mallopt(3))
_MALLOC_OPTIONS = ((-1, 64 << 20), (-3, 32 << 20))


class _Station:
    """The model that a process has in memory."""

    def __init__(self) -> None:
        self._turn = Lock()
        self._setup: Setup | None = None
        self._checked: Setup | None = None
        self._transcriber: Transcriber | None = None

    def check(self, setup: Setup, worker: Worker) -> None:
        """Raise ClusterError where this process computes otherwise, which reads the model."""
        setup.check(worker.address)
        self._checked = setup

    @contextmanager
    def use(self, setup: Setup, worker: Worker) -> Iterator[Transcriber]:
        """Have the model to oneself; what is loaded for another setup goes first."""
        with self._turn:
            if self._transcriber is None or setup != self._setup:
                self.close()
                if setup != self._checked:  # it joined after the client's start
                    self.check(setup, worker)
                has_npu = worker.state.total_resources.get(NPU, 0) > 0
                engine = setup.for_worker(has_npu=has_npu)
                self._transcriber = Transcriber(setup.model, engine, offline=setup.offline)
                self._setup = setup
            yield self._transcriber

    def close(self) -> None:
        """Release the engines."""
        if self._transcriber is not None:
            self._transcriber.close()
        self._transcriber = None


_STATION = _Station()


def dask_setup(worker: Worker) -> None:
    """Have a process ready that decodes recordings, and copies of them where Dask clears up."""
    _keep_freed_memory()
    tempfile.tempdir = worker.local_directory  # after a kill: when a worker starts there again
    prepare()


def _keep_freed_memory() -> None:
    """Let the C library keep what was freed, as it does where Dask's nanny does not forbid it.

    With its MALLOC_TRIM_THRESHOLD_ the mel took three times as long.
    """
    if set_option := getattr(ctypes.CDLL(None), "mallopt", None):  # of glibc
        for option, n_bytes in _MALLOC_OPTIONS:
            set_option(option, n_bytes)


def dask_teardown(_worker: Worker) -> None:
    """Release the engines."""
    _STATION.close()


def check(setup: Setup, dask_worker: Worker) -> None:
    """Raise ClusterError where this worker computes otherwise than the client."""
    _STATION.check(setup, dask_worker)


def transcribe(setup: Setup, task: Task, key: str) -> Outcome:
    """Transcribe a recording or a part of one; what is wrong with it is in the outcome."""
    worker = get_worker()
    worker.log_event(BEGUN, key)
    outcome = Outcome(worker.address)
    try:
        with _STATION.use(setup, worker) as transcriber:
            engines = transcriber.engines
            try:
                with closing(task.open(key, worker)) as source:
                    outcome = _transcribe(transcriber, task, source, outcome)
            except WhisperNpuError as error:
                outcome = replace(outcome, error=error)
            return replace(
                outcome,
                device=engines.device_in_use,
                reason=engines.reason,
                load_s=transcriber.load_s,
                incidents=tuple(engines.incidents),
            )
    except WhisperNpuError as error:
        return replace(outcome, error=error)


def _transcribe(
    transcriber: Transcriber, task: Task, source: EncodedSource, outcome: Outcome
) -> Outcome:
    """Return the outcome with what came of it: a long recording is only cut."""
    if task.part is not None:
        part = transcriber.transcribe_part(source, task.options, task.part)
        return replace(outcome, part=part)
    job, cut = transcriber.transcribe(source, task.options, task.progress), None
    info = job.begin()
    if isinstance(job, Transcription) and task.longest_s is not None and not task.only_language:
        cut = job.cut(task.longest_s)
    if cut is None and not task.only_language:
        for _ in job:
            pass
    remarks = tuple(source.remarks)
    return replace(outcome, info=info, result=job.result, cut=cut, remarks=remarks)
