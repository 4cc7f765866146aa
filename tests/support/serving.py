"""A server in a thread of this process, and transcriptions that go on when a test lets them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event, Semaphore, Thread
from types import SimpleNamespace
from typing import Any

import httpx2
from uvicorn.server import ServerState

from tests.support.places import ROOT
from whisper_npu_cli.options import EngineOptions, TranscribeOptions
from whisper_npu_cli.pipeline import Transcriber
from whisper_npu_cli.serve.models import Models
from whisper_npu_cli.serve.run import Server, listen, run
from whisper_npu_cli.serve.settings import ServeOptions
from whisper_npu_cli.serve.wyoming import Client
from whisper_npu_cli.timings import Timings
from whisper_npu_cli.transcript import Result, Segment, Transcript, TranscriptionInfo

SAMPLE = ROOT / "samples" / "lucas-1-6-1-8-0.wav"
TEXT = "one six one eight zero"
_OPEN: list[Served] = []


def load_demo(_name: str) -> Transcriber:
    return Transcriber("demo", EngineOptions(device="cpu"))


@dataclass(frozen=True)
class Served:
    """A server that answers at `url`, and Wyoming's clients at a port of its own."""

    url: str
    server: Server
    wyoming_port: int

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = httpx2.URL(self.url)
        return parts.host, parts.port or 0

    def open(self) -> socket.socket:
        """Return a connection."""
        return socket.create_connection(self.address, timeout=20)

    def post(self, path: str, **fields: Any) -> httpx2.Response:
        """Post the sample with `fields`, of which `file` may be other bytes."""
        file = fields.pop("file", SAMPLE.read_bytes())
        files = {"file": ("talk.wav", file)}
        return httpx2.post(f"{self.url}{path}", data=fields, files=files, timeout=60)

    def get(self, path: str) -> httpx2.Response:
        """Get a path."""
        return httpx2.get(f"{self.url}{path}", timeout=20)


@contextmanager
def serving(
    load: Callable[[str], Any] = load_demo,
    options: ServeOptions | None = None,
    base: TranscribeOptions | None = None,
    api_key: str | None = None,
) -> Iterator[Served]:
    """Serve with the model of `load`, once it is loaded."""
    options = options or ServeOptions()
    listening, wyoming = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    models = Models("demo", load, options)
    server = Server(models, options, base or TranscribeOptions(), api_key)
    thread = Thread(target=run, args=(server, listening, wyoming))
    ports = [one.getsockname()[1] for one in (listening, wyoming)]
    served = Served(f"http://127.0.0.1:{ports[0]}", server, ports[1])
    thread.start()
    try:
        wait_until(lambda: models.is_ready)
        _OPEN.append(served)
        yield served
    finally:
        if served in _OPEN:
            _OPEN.remove(served)
        server.should_exit = True
        thread.join()


def wait_for_logs() -> None:
    """Wait until the servers have printed what they do for the clients that there were."""
    for served in _OPEN:
        wait_until(partial(_is_quiet, served.server.server_state))


def _is_quiet(state: ServerState) -> bool:
    return not (state.tasks or any(isinstance(one, Client) for one in state.connections))


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so; fail after 20 s, which nothing here comes near to."""
    never = Event()
    for _ in range(2000):
        if is_so():
            return
        never.wait(0.01)
    raise AssertionError("it never became so")


class HeldTranscription:
    """A transcription of a HeldTranscriber; its audio is not heard."""

    def __init__(self, texts: tuple[str, ...], step: Semaphore, options: TranscribeOptions) -> None:
        self.options = options
        self.is_stopped = False
        self._texts = texts
        self._step = step
        self._segments: list[Segment] = []

    def begin(self) -> TranscriptionInfo:
        return TranscriptionInfo(1.0, "en", {}, "sequential")

    def __iter__(self) -> Iterator[Segment]:
        first = Segment(0, 0, 0.0, 1.0, "", (), 0.0, -0.1, 1.0, 0.0)
        for i, text in enumerate(self._texts):
            self._step.acquire()
            if self.is_stopped:
                return
            self._segments.append(replace(first, id=i, text=text))
            yield self._segments[-1]

    def stop(self) -> None:
        self.is_stopped = True

    @property
    def result(self) -> Result:
        transcript = Transcript("en", 1.0, tuple(self._segments))
        return Result(transcript, Timings(1.0, 0.1, ()), (), (), "sequential", True)


@dataclass
class HeldTranscriber:
    """A model that gives the words of `texts`, one each time that a test releases `step`."""

    texts: tuple[str, ...] = (" one", " two", " three")
    step: Semaphore = field(default_factory=lambda: Semaphore(0))
    begun: list[HeldTranscription] = field(default_factory=list)
    kind: type[HeldTranscription] = HeldTranscription
    is_closed: bool = False

    def __post_init__(self) -> None:
        self.tokenizer = SimpleNamespace(language_ids={"en": 0}, is_multilingual=True)
        self.engines = SimpleNamespace(device_in_use="cpu", incidents=[])

    def transcribe(self, _audio: Any, options: TranscribeOptions) -> HeldTranscription:
        self.begun.append(self.kind(self.texts, self.step, options))
        return self.begun[-1]

    def close(self) -> None:
        self.is_closed = True
