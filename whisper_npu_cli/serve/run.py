"""A server from its options to its end: the socket, the loading of the model, the signals."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from whisper_npu_cli.errors import UsageError, WhisperNpuError
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.serve.app import make_app
from whisper_npu_cli.serve.frontdesk import log
from whisper_npu_cli.serve.models import Models
from whisper_npu_cli.serve.service import Service
from whisper_npu_cli.serve.settings import ServeOptions

_ANSWER_S = 5  # for the answers to what was given up; then connections are closed


class Server(uvicorn.Server):
    """A server that loads its model once it listens, and lets no window be lost at its end."""

    failure: WhisperNpuError | None = None  # of loading the model, which ends the server

    def __init__(
        self, models: Models, options: ServeOptions, base: TranscribeOptions, api_key: str | None
    ) -> None:
        self.service = Service(models, options, base)
        self._grace_s = options.grace_s
        config = uvicorn.Config(
            make_app(self.service, api_key),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=options.grace_s + _ANSWER_S,
            callback_notify=self._unload_idle,
            timeout_notify=1,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and begin to load the model."""
        await super().startup(sockets)
        self._loading = asyncio.create_task(self._load())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse what is new or waits, finish what is being decoded in time, and unload."""
        log("ending")
        jobs = self.service.jobs
        jobs.refuse_waiting()
        in_time = asyncio.get_running_loop().call_later(self._grace_s, jobs.give_up)
        await super().shutdown(sockets)
        in_time.cancel()
        await self.service.close()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End by a signal as by itself, with exit status 0: uvicorn raises it again."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    async def _load(self) -> None:
        models = self.service.models
        try:
            await asyncio.to_thread(models.load_default)
            log("ready", model=models.default)
        except WhisperNpuError as error:
            self.failure, self.should_exit = error, True

    async def _unload_idle(self) -> None:
        await asyncio.to_thread(self.service.models.unload_idle)


def run(server: Server, listening: socket.socket) -> None:
    """Serve until a signal comes; raise what loading the model raised."""
    host, port, *_ = listening.getsockname()
    log("listening", address=f"http://{f'[{host}]' if ':' in host else host}:{port}")
    server.run(sockets=[listening])
    if server.failure is not None:
        raise server.failure


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; UsageError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}",
            hint="choose another with --host and --port; --port 0 takes one that is free",
        ) from error
