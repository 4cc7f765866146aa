"""Servers to measure, each in a process of its own, behind one interface: POST /inference."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from time import sleep

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.places import ROOT
from tools.peers.programs import Ask
from tools.peers.workers import WHISPER_NPU, Worker

_LOADING_S = 300


@dataclass(frozen=True)
class Service:
    """A server that answers at `url`; `pid` is of its process, where it has one of its own."""

    url: str
    fields: dict[str, str]  # of each request
    pid: int = 0


@contextmanager
def serve_ours(model: str, *options: str) -> Iterator[Service]:
    """Serve by `whisper-npu serve`."""
    port = find_port()
    command = [*WHISPER_NPU, "serve", "--model", model, "--device", "cpu", "--port", str(port)]
    with _running([*command, "--queue", "64", *options], port) as pid:
        yield Service(f"http://127.0.0.1:{port}", {"language": "en"}, pid)


@contextmanager
def serve_whisper_cpp(checkout: Path, model: Path, n_threads: int) -> Iterator[Service]:
    """Serve by whisper.cpp's server, greedily and without timestamps."""
    port = find_port()
    binary = str(checkout / "build" / "bin" / "whisper-server")
    command = [binary, "-m", str(model), "-t", str(n_threads), "--port", str(port)]
    with _running([*command, "-nf", "-bs", "1", "-bo", "1", "-nt", "-l", "en"], port) as pid:
        yield Service(f"http://127.0.0.1:{port}", {"temperature_inc": "0"}, pid)


@contextmanager
def serve_faster_whisper(python: str, model: Path, n_threads: int) -> Iterator[Service]:
    """Serve faster-whisper's int8 by the libraries that `whisper-npu serve` stands on.

    Greedily and without timestamps. Its process takes one request after another.
    """
    arguments = {"model": str(model), "precision": "int8", "n_threads": n_threads}
    with Worker(python, "faster-whisper", **arguments) as worker:
        turn = asyncio.Lock()

        async def infer(request: Request) -> Response:
            async with request.form() as form:
                data = await form["file"].read()  # type: ignore[union-attr]
            with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                file.write(data)
                file.flush()
                ask = Ask(file.name, timestamps=False, previous_text=False)
                async with turn:
                    reply = await asyncio.to_thread(worker.transcribe, ask)
            return JSONResponse({"text": "".join(one["text"] for one in reply["segments"])})

        port = find_port()
        app = Starlette(routes=[Route("/inference", infer, methods=["POST"])])
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
        thread = Thread(target=server.run)
        thread.start()
        try:
            _wait(port)
            yield Service(f"http://127.0.0.1:{port}", {})
        finally:
            server.should_exit = True
            thread.join()


def find_port() -> int:
    """Return a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[int]:
    """Run a server once it is ready; yield its process."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=quiet) as process:
        try:
            _wait(port)
            yield process.pid
        finally:
            process.terminate()


def _wait(port: int) -> None:
    """Wait until a server has loaded its model; one without /health has when it listens."""
    for _ in range(10 * _LOADING_S):
        with suppress(httpx2.TransportError):
            if httpx2.get(f"http://127.0.0.1:{port}/health").status_code != 503:
                return
        sleep(0.1)
    raise SystemExit(f"no server came up at port {port}")
