"""A client's side: inputs out to the workers of a Dask scheduler, outcomes back as they come.

A few tasks for each worker are with the scheduler at a time, so that memory here does not grow with
the archive. What a lost worker had is run again elsewhere by the scheduler, three times at most
(`distributed.scheduler.allowed-failures`).
"""

from __future__ import annotations

import secrets
from asyncio import sleep
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter
from typing import Any

from distributed import Client, Future, KilledWorker

from whisper_npu_cli.audio.find import Input
from whisper_npu_cli.cluster import worker
from whisper_npu_cli.cluster.settings import ClusterOptions
from whisper_npu_cli.cluster.shipping import Shipper
from whisper_npu_cli.cluster.split import Split
from whisper_npu_cli.cluster.tasks import Finished, Outcome, Setup, Task
from whisper_npu_cli.errors import AudioError, ClusterError, DeviceError, WhisperNpuError
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.transcript import Progress
from whisper_npu_cli.writers.document import Device

_PER_THREAD = 3  # tasks at the scheduler: one runs, one waits at the worker, one behind it
_LEAST = 4
_LOOK_S = 1.0  # between questions for the number of workers
_ENDED = ("error", "cancelled")  # states of a task that has no result
_GROUP = "whisper-npu"  # of tasks; Dask has all of one name before a dash in one group

Transcribe = Callable[[Setup, Task, str], Outcome]


@dataclass
class Tally:
    """What has come back so far."""

    n_inputs: int = 0
    audio_s: float = 0.0
    n_partly: float = 0.0  # inputs of which parts are done, as the sum of their shares
    n_workers: int = 0
    began: float = 0.0  # perf_counter

    @property
    def workers(self) -> str:
        """How many workers there are, in words."""
        return f"{self.n_workers} worker{'' if self.n_workers == 1 else 's'}"

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first input was sent."""
        return perf_counter() - self.began if self.began else 0.0


@dataclass(frozen=True)
class _Wanted:
    """A task for an input, or for one of the parts into which it is split."""

    source: Input
    task: Task
    split: Split | None = None


@dataclass
class _Sent:
    """A task that is with the scheduler."""

    wanted: _Wanted
    future: Future
    n_begun: int = 0
    is_again: bool = False  # it was lost with a worker that did not work on it


class Fleet:
    """The workers of one scheduler. What computes on them is `transcribe`, with `setup`."""

    finishing = "what has begun"  # when it is interrupted

    def __init__(
        self,
        client: Client,
        setup: Setup,
        notice: Callable[[str], None],
        options: ClusterOptions,
        transcribe: Transcribe = worker.transcribe,
    ) -> None:
        self.tally = Tally()
        self.load_s: float | None = None  # of the slowest worker
        self._client = client
        self.address = client.scheduler.address
        self._setup = setup
        self._notice = notice
        self._options = options
        self._transcribe = transcribe
        self._sent: dict[str, _Sent] = {}
        self._splits: list[Split] = []  # of which not all parts are done
        self._parts: deque[_Wanted] = deque()  # that were not sent yet
        self._is_stopped = False
        self._devices: set[str] = set()
        self._incidents: dict[str, None] = {}  # each once, with its worker
        self._unfit: set[str] = set()  # workers whose device fails
        self._threads: Mapping[str, int] = {}  # of the workers
        self._looked = 0.0
        self._run = secrets.token_hex(4)  # of this client's keys, among those of others
        self._ended: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._is_alone = False  # no worker is there
        client.subscribe_topic(worker.BEGUN, self._on_begun)
        self._shipper = Shipper(client, self._locate)

    @property
    def device(self) -> Device | None:
        """The devices that computed, where they are, and the failures that were overcome."""
        if not self._devices:
            return None
        reason = f"{self.tally.workers} of {self.address}"
        return Device(", ".join(sorted(self._devices)), reason, list(self._incidents))

    def check(self) -> None:
        """Wait for a worker; ClusterError where one computes otherwise than this machine."""
        if not self._count_threads():
            self._client.wait_for_workers(1)
            self._looked = 0.0
            self._count_threads()
        answers = self._client.run(worker.check, self._setup, on_error="return")
        for address, error in answers.items():
            if isinstance(error, ClusterError):
                raise error
            if error is not None:
                raise ClusterError(
                    f"worker {address}: {error}",
                    hint="start it where whisper-npu-cli[cluster] and the model are",
                )

    def transcribe_each(
        self,
        wanted: Iterable[tuple[Input, Progress | None]],
        options: TranscribeOptions,
        *,
        only_language: bool = False,
    ) -> Iterator[tuple[Input, Callable[[], Finished]]]:
        """Yield each input with its transcription, in the order in which they end.

        ClusterError where the scheduler is lost.
        """
        self.tally.began = perf_counter()
        describe = partial(
            Task.describe, options=options, cluster=self._options, only_language=only_language
        )
        try:
            yield from self._send_each(wanted, describe)
        except Exception as error:
            if isinstance(error, WhisperNpuError) or self._client.status == "running":
                raise
            raise self._lost() from error

    def _send_each(
        self,
        wanted: Iterable[tuple[Input, Progress | None]],
        describe: Callable[..., Task],
    ) -> Iterator[tuple[Input, Callable[[], Finished]]]:
        waiting, numbers = self._describe_each(wanted, describe), count()
        while True:
            while len(self._sent) < self._limit():
                one = self._parts.popleft() if self._parts else next(waiting, None)
                if one is None:
                    break
                if isinstance(one, _Wanted):
                    self._send(one, f"{_GROUP}-{self._run}-{next(numbers)}")
                else:
                    yield self._finish(*one)
            if not self._sent:
                break
            key, answer = self._await()
            sent = self._sent.pop(key)
            if self._is_innocent(sent, answer):
                self._send(sent.wanted, f"{key}+", is_again=True)
                continue
            outcome = self._read(sent, answer)
            if outcome is None:
                continue
            if isinstance(outcome.error, DeviceError) and self._has_other(outcome.worker):
                self._report(outcome.worker, str(outcome.error))
                self._send(sent.wanted, f"{key}+")
                continue
            if (ended := self._take(sent.wanted, outcome)) is not None:
                yield self._finish(sent.wanted.source, ended)
        yield from self._give_up_splits()

    def _describe_each(
        self, wanted: Iterable[tuple[Input, Progress | None]], describe: Callable[..., Task]
    ) -> Iterator[_Wanted | tuple[Input, Outcome]]:
        for source, progress in wanted:
            try:
                yield _Wanted(source, describe(source, progress=progress))
            except AudioError as error:
                yield source, Outcome("", error=error)

    def _await(self) -> tuple[str, Any]:
        """Return the key of the next task that has ended, with its outcome or what it raised."""
        while True:
            with suppress(Empty):
                return self._ended.get(timeout=_LOOK_S)
            self._count_threads()  # which tells that none is left

    async def _fetch(self, future: Future) -> None:
        """Wait for a task and hand on what came of it.

        Dask's `as_completed` waits for ever where the scheduler has a result that cannot be had: a
        connection breaks, or the worker is lost with it and running it again fails.
        """
        while True:
            try:
                answer = await future
            except Exception as error:
                is_way_lost = isinstance(error, OSError) and future.status not in _ENDED
                if is_way_lost and self._client.status == "running":
                    await sleep(_LOOK_S)
                    continue
                answer = error
            self._ended.put((future.key, answer))
            return

    def _take(self, wanted: _Wanted, outcome: Outcome) -> Outcome | None:
        """Return the outcome of an input that ends with one of its tasks; None where more do."""
        self._note(outcome)
        split = wanted.split
        if outcome.cut is not None:
            split = Split(wanted.source, wanted.task, outcome, outcome.cut)
            self._splits.append(split)
            self._parts.extend(_Wanted(split.source, task, split) for task in split.tasks)
            return None
        if split is None:
            self.tally.audio_s += outcome.result.transcript.duration_s if outcome.result else 0.0
            return outcome
        if split not in self._splits:  # another of its parts failed
            return None
        if outcome.part is not None:
            split.add(wanted.task, outcome.part)
            self.tally.audio_s += split.part_s
            self.tally.n_partly = sum(one.share for one in self._splits)
            if not split.is_complete:
                return None
        self._splits.remove(split)
        self._parts = deque(one for one in self._parts if one.split is not split)
        self.tally.n_partly = sum(one.share for one in self._splits)
        return split.join() if split.is_complete else outcome

    def _give_up_splits(self) -> Iterator[tuple[Input, Callable[[], Finished]]]:
        """Yield recordings whose first parts are done, where it was stopped before the others."""
        for split in self._splits:
            if split.has_progress:
                yield self._finish(split.source, split.join())
            else:
                self._notice(f"{split.source.name}: interrupted before its first part was done")

    def stop(self) -> None:
        """Give up what no worker has begun. May be called by a handler of a signal."""
        self._is_stopped = True
        self._client.loop.add_callback(self._cancel)

    async def _cancel(self) -> None:
        idle = [one.future for one in self._sent.values() if not one.n_begun]
        await self._client.cancel(idle, asynchronous=True)

    def _locate(self, key: str) -> str | None:
        """Return the file that a task may have sent."""
        sent = self._sent.get(key)
        return sent.wanted.task.path if sent and sent.wanted.task.is_shipped else None

    def _on_begun(self, event: tuple[float, str]) -> None:
        if sent := self._sent.get(event[1]):
            sent.n_begun += 1

    def _is_innocent(self, sent: _Sent, answer: Any) -> bool:
        """Return whether a task only waited at the workers that were lost, and may go once more.

        The scheduler counts them against all that they had.
        """
        is_lost = isinstance(answer, KilledWorker) and not sent.is_again
        return is_lost and sent.n_begun <= answer.allowed_failures

    def _send(self, wanted: _Wanted, key: str, *, is_again: bool = False) -> None:
        is_npu = self._setup.engine.device == "npu"
        future = self._client.submit(
            self._transcribe,
            self._setup,
            wanted.task,
            key,
            key=key,
            pure=False,
            resources={worker.NPU: 1} if is_npu else None,
            workers=self._list_fit() if self._unfit else None,
            allow_other_workers=bool(self._unfit),
        )
        self._sent[key] = _Sent(wanted, future, is_again=is_again)
        self._client.loop.add_callback(self._fetch, future)

    def _read(self, sent: _Sent, answer: Any) -> Outcome | None:
        """Return what came of a task; None where it was given up before it began."""
        if isinstance(answer, Outcome):
            return answer
        status = sent.future.status
        if status == "cancelled" or (status != "error" and isinstance(answer, OSError)):
            if self._is_stopped and self._client.status == "running":
                return None
            raise self._lost()
        if isinstance(answer, KilledWorker):
            n_lost = answer.allowed_failures + 1
            reason = (
                f"{n_lost} workers were lost while they had it, {answer.last_worker.address} last"
            )
            hint = "their logs may tell why; transcribe it alone"
        else:
            reason = f"a worker failed: {type(answer).__name__}: {answer}"
            hint = "transcribe it alone"
        return Outcome("", error=AudioError(f"{sent.wanted.source.name}: {reason}", hint=hint))

    def _lost(self) -> ClusterError:
        return ClusterError(
            f"the scheduler at {self.address} is lost; what was finished is written",
            hint="start it again; the same command with --resume goes on",
        )

    def _note(self, outcome: Outcome) -> None:
        """Remember what computed, and what failed there."""
        if outcome.device:
            self._devices.add(outcome.device)
            self.load_s = max(self.load_s or 0.0, outcome.load_s)
        for incident in outcome.incidents:
            self._report(outcome.worker, f"the NPU failed, the CPU goes on: {incident}")

    def _finish(self, source: Input, outcome: Outcome) -> tuple[Input, Callable[[], Finished]]:
        self.tally.n_inputs += 1
        source.remarks.update(dict.fromkeys(outcome.remarks))
        return source, lambda: Finished(outcome)

    def _report(self, address: str, text: str) -> None:
        incident = f"worker {address}: {text}"
        if incident not in self._incidents:
            self._incidents[incident] = None
            self._notice(incident)

    def _has_other(self, address: str) -> bool:
        """Note that a worker's device fails; return whether another may have one that works."""
        self._unfit.add(address)
        return bool(self._list_fit())

    def _list_fit(self) -> list[str]:
        # Not `scheduler_info`: what Dask asks for every two seconds may empty its answer meanwhile.
        about_all = self._client.sync(self._client.scheduler.identity, n_workers=-1)
        is_npu = self._setup.engine.device == "npu"
        return [
            address
            for address, about in about_all["workers"].items()
            if address not in self._unfit and (about["resources"].get(worker.NPU) or not is_npu)
        ]

    def _limit(self) -> int:
        """Return how many tasks may be with the scheduler; none more once it is to stop."""
        return 0 if self._is_stopped else max(_LEAST, _PER_THREAD * self._count_threads())

    def _count_threads(self) -> int:
        if monotonic() - self._looked >= _LOOK_S:
            with suppress(OSError):  # the scheduler may be lost, which its tasks tell
                self._threads = self._client.nthreads()
            self.tally.n_workers = len(self._threads)
            self._looked = monotonic()
            if not self._threads and not self._is_alone:
                self._notice(f"waiting for workers at {self.address}")
            self._is_alone = not self._threads
        return sum(self._threads.values())
