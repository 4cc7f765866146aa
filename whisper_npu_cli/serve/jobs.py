"""Requests that wait for their turn and those that are worked on, each by a thread.

The engines take a window of each thread in turn, so that a long recording does not hold up the
short ones. The event loop awaits what the threads give.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.longform.channels import Job as Transcription
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.serve.forms import Upload
from whisper_npu_cli.serve.models import Models
from whisper_npu_cli.serve.refusals import ClientGone, Refusal
from whisper_npu_cli.transcript import Result, Segment, TranscriptionInfo

_CLOSING = "the server is shutting down"


@dataclass(frozen=True)
class Order:
    """What is asked for: a model by the client's name for it, the audio, and how."""

    model: str
    upload: Upload
    options: TranscribeOptions


class Job:
    """One order. What its thread gives is awaited in order: `begin`, `segments`, `result`."""

    def __init__(self, order: Order, models: Models) -> None:
        self.order = order
        self.model = ""  # the four are known once `begin` has returned
        self.tokenizer: Tokenizer
        self.device = ""
        self.queue_s = 0.0
        self._models = models
        self._transcription: Transcription | None = None
        self._end: BaseException | None = None  # why it is given up
        self._made = perf_counter()
        self._loop = asyncio.get_running_loop()
        self._given: asyncio.Queue[Any] = asyncio.Queue()

    async def begin(self) -> TranscriptionInfo:
        """Return what is known before the first segment. Raises whatever went wrong."""
        info: TranscriptionInfo = await self._take()
        return info

    async def segments(self) -> AsyncIterator[Segment]:
        """Yield segments as they are decided. Raises whatever went wrong."""
        while (segment := await self._take()) is not None:
            yield segment

    @property
    def result(self) -> Result:
        """All that was decided, once `segments` has ended."""
        assert self._transcription is not None
        return self._transcription.result

    def end(self, reason: BaseException) -> None:
        """Give it up after the window that is being decoded; who awaits it gets `reason`."""
        self._end = reason
        if self._transcription is not None:
            self._transcription.stop()
        self._given.put_nowait(reason)

    def work(self) -> None:
        """Transcribe, in a thread."""
        self.queue_s = perf_counter() - self._made
        try:
            if self._end is None:
                self._transcribe()
        except BaseException as error:  # raised again where it is awaited
            self._give(error)

    def _transcribe(self) -> None:
        self.model = self._models.resolve(self.order.model)
        with self._models.use(self.model) as transcriber:
            self.tokenizer = transcriber.tokenizer
            transcription = transcriber.transcribe(self.order.upload, self.order.options)
            self._transcription = transcription
            if self._end is not None:  # before there was something to stop
                transcription.stop()
            info = transcription.begin()
            self.device = transcriber.engines.device_in_use
            self._give(info)
            for segment in transcription:
                self._give(segment)
            self.device = transcriber.engines.device_in_use
            self._give(None)

    def _give(self, item: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody awaits it
            self._loop.call_soon_threadsafe(self._given.put_nowait, item)

    async def _take(self) -> Any:
        item = await self._given.get()
        if isinstance(item, BaseException):
            raise item
        return item


class Jobs:
    """All jobs of a server: `n_working` at a time, and `n_waiting` that wait."""

    def __init__(self, models: Models, n_working: int, n_waiting: int) -> None:
        self.n_working, self.n_waiting = n_working, n_waiting
        self._models = models
        self._threads = ThreadPoolExecutor(n_working, thread_name_prefix="transcribe")
        self._open: dict[Job, Future[None]] = {}  # in order of their arrival
        self._is_closing = False

    @property
    def n_open(self) -> int:
        """How many jobs wait or are worked on."""
        return len(self._open)

    def list_open(self) -> list[Job]:
        """Return the jobs that wait or are worked on, in order of their arrival."""
        return list(self._open)

    def submit(self, order: Order, gone: Callable[[], Awaitable[object]]) -> Job:
        """Take an order; Refusal where there is no place.

        It ends once `gone` returns, which waits until the client has closed the connection.
        """
        if self._is_closing:
            raise Refusal(503, _CLOSING)
        if self.n_open >= self.n_working + self.n_waiting:
            raise Refusal(503, f"{self.n_open} requests are waiting or worked on (--queue)")
        job, loop = Job(order, self._models), asyncio.get_running_loop()
        watch = loop.create_task(self._end_when_gone(job, gone))

        def finish() -> None:
            watch.cancel()
            order.upload.close()
            del self._open[job]

        self._open[job] = self._threads.submit(job.work)
        self._open[job].add_done_callback(lambda _: loop.call_soon_threadsafe(finish))
        return job

    def refuse_waiting(self) -> None:
        """Take no more orders, and give up those that no thread has begun."""
        self._is_closing = True
        for job, working in list(self._open.items()):
            if not working.running():
                self._give_up(job, Refusal(503, _CLOSING))

    def give_up(self) -> None:
        """Give up all jobs after the windows that are being decoded."""
        for job in self.list_open():
            self._give_up(job, Refusal(503, _CLOSING))

    async def close(self) -> None:
        """Wait until no thread works any more; `refuse_waiting` and `give_up` come before."""
        await asyncio.to_thread(self._threads.shutdown)

    def _give_up(self, job: Job, reason: Exception) -> None:
        self._open[job].cancel()  # has an effect on one that waits alone
        job.end(reason)

    async def _end_when_gone(self, job: Job, gone: Callable[[], Awaitable[object]]) -> None:
        await gone()
        self._give_up(job, ClientGone())
