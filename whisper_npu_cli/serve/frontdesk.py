"""What every request passes: its id, its key, its line in the log, its place in the counts."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from secrets import compare_digest, token_hex
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whisper_npu_cli.serve.log import log, log_fault
from whisper_npu_cli.serve.metrics import Metrics
from whisper_npu_cli.serve.openai import describe_error
from whisper_npu_cli.serve.refusals import CLIENT_GONE, Refusal
from whisper_npu_cli.serve.service import NOTE
from whisper_npu_cli.serve.website import is_page

LINGER_S = 5.0
_OPEN_PATHS = ("/health",)  # which need no key
_PROBES = ("/health", "/metrics")  # which others ask for again and again, so no log tells of it


def make_id() -> str:
    """Return the id of a request."""
    return f"req_{token_hex(8)}"


class FrontDesk:
    """An application with a desk before it; other paths than `paths` are counted together."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, paths: Collection[str], api_key: str | None
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths
        self._api_key = api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[NOTE] = {}
        visit, start = _Visit(scope, receive, send), perf_counter()
        app = self._app if self._may_enter(scope) else _wrong_key
        try:
            await app(scope, visit.receive, visit.send)
        except Exception as error:  # a fault of ours, which the application has answered with 500
            log_fault(error)
        finally:
            self._record(scope, visit, perf_counter() - start)

    def _record(self, scope: Scope, visit: _Visit, seconds: float) -> None:
        """Count a request, and log it."""
        path = scope["path"] if scope["path"] in self._paths else "other"
        status = visit.status or CLIENT_GONE
        self._metrics.add_request(path, status, seconds)
        if path not in _PROBES and not is_page(scope["path"]):
            content = {"id": visit.id, "method": scope["method"], "path": path, "status": status}
            log("request", **content, seconds=round(seconds, 3), **scope[NOTE])

    def _may_enter(self, scope: Scope) -> bool:
        is_open = scope["path"] in _OPEN_PATHS or is_page(scope["path"])
        if self._api_key is None or is_open:
            return True
        given = Headers(scope=scope).get("authorization", "")
        return compare_digest(given.encode(), f"Bearer {self._api_key}".encode())


class _Visit:
    """One request with its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.id = make_id()
        self.status = 0  # of the answer, once it has begun
        self._waits = "expect" in Headers(scope=scope)  # for a word before it sends its body
        self._is_read = False
        self._receive, self._send = receive, send

    async def receive(self) -> Message:
        """Return the next message of the client."""
        message = await self._receive()
        self._is_read |= not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a message; the answer gets the id."""
        if message["type"] == "http.response.start":
            if not (self._is_read or self._waits):
                await self._discard()
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self.id
        await self._send(message)

    async def _discard(self) -> None:
        """Read the rest of the body, for a while: with bytes unread the answer would be lost."""

        async def read() -> None:
            while not self._is_read:
                await self.receive()

        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(read(), LINGER_S)


async def _wrong_key(scope: Scope, receive: Receive, send: Send) -> None:
    message = "the API key is missing or wrong: send it as `Authorization: Bearer KEY`"
    refusal = Refusal(401, message, code="invalid_api_key")
    headers = {"WWW-Authenticate": "Bearer"}
    await JSONResponse(describe_error(refusal), 401, headers)(scope, receive, send)
