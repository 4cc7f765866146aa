"""A server from its options to its end: the sockets, the loading of the model, the signals."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from types import FrameType

import uvicorn

from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.serve.app import make_app
from whisper_npu_cli.serve.log import log
from whisper_npu_cli.serve.models import Models
from whisper_npu_cli.serve.service import Service
from whisper_npu_cli.serve.settings import ServeOptions
from whisper_npu_cli.serve.wyoming import serve_client

_ANSWER_S = 5  # for the answers to what was given up; then connections are closed


class Server(uvicorn.Server):
    """A server that loads its model once it listens, and lets no window be lost at its end."""

    failure: Exception | None = None  # of loading the model, which ends the server
    wyoming: socket.socket | None = None  # where that is served too

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
        if self.wyoming is not None:
            meet = partial(serve_client, self.service, self.server_state.connections)
            self.servers.append(await asyncio.start_server(meet, sock=self.wyoming))
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

    def handle_exit(self, _sig: int, _frame: FrameType | None) -> None:
        """End by a signal, with exit status 0; a second one waits for no answer."""
        self.force_exit, self.should_exit = self.should_exit, True

    async def _load(self) -> None:
        models = self.service.models
        try:
            await asyncio.to_thread(models.load_default)
            log("ready", model=models.default)
        except Exception as error:  # raised again by `run`
            self.failure, self.should_exit = error, True

    async def _unload_idle(self) -> None:
        await asyncio.to_thread(self.service.models.unload_idle)


def run(server: Server, listening: socket.socket, wyoming: socket.socket | None = None) -> None:
    """Serve HTTP, and Wyoming, until a signal comes; raise what loading the model raised."""
    log("listening", address=format_address("http", listening))
    if wyoming is not None:
        server.wyoming = wyoming
        log("listening", address=format_address("tcp", wyoming))
    server.run(sockets=[listening])
    if server.failure is not None:
        raise server.failure


def format_address(scheme: str, listening: socket.socket) -> str:
    """Return where a socket listens."""
    host, port, *_ = listening.getsockname()
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; UsageError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}",
            hint="choose another address; port 0 takes one that is free",
        ) from error
