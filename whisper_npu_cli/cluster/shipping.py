"""The bytes of recordings whose paths a worker does not see, piece by piece from the client.

A worker asks for a piece by an event, the client answers by a call on that worker, and nobody holds
more than the pieces that are on their way. The client keeps nothing of it: a file that a lost
worker had is asked for by another from its first byte on.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Worker

from whisper_npu_cli.errors import AudioError

WANTED = "whisper-npu-wanted"  # the topic of pieces that workers ask for
_PIECE_BYTES = 1 << 20
_ON_THEIR_WAY = 8  # pieces, to all workers together
# For a piece over a slow line; a worker that freezes must not have a turn for ever
_ANSWER_S = 60.0
_PATIENCE_S = 300.0  # of a worker, while others have their turns


@dataclass(frozen=True)
class _Piece:
    """Bytes of a file, none at its end, and which file it was."""

    data: bytes
    version: tuple[int, int]  # its size in bytes, and when it changed


_answers: dict[str, SimpleQueue[_Piece | AudioError]] = {}  # of a worker, by what it asked for


class ShippedFile:
    """A file of the client of a task, which a worker reads; AudioError where that fails."""

    def __init__(self, key: str, worker: Worker) -> None:
        self._key = key
        self._worker = worker
        self._offset = 0
        self._version: tuple[int, int] | None = None

    def seekable(self) -> bool:
        """Return that it is: it does not arrive, all of it is there."""
        return True

    def seek(self, offset: int) -> None:
        """Go to an offset from its beginning."""
        self._offset = offset

    def tell(self) -> int:
        """Return where it is."""
        return self._offset

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; none at the end."""
        piece = self._ask(size)
        if self._version not in (None, piece.version):
            raise AudioError("changed while it was sent", hint="send it once it is whole")
        self._version = piece.version
        self._offset += len(piece.data)
        return piece.data

    def _ask(self, size: int) -> _Piece:
        token = secrets.token_hex(8)
        answer = _answers[token] = SimpleQueue()
        wanted = [self._key, self._worker.address, token, self._offset, size]
        try:
            self._worker.log_event(WANTED, wanted)
            piece = answer.get(timeout=_PATIENCE_S)
        except Empty:
            raise AudioError(
                f"the client sent nothing of it for {_PATIENCE_S:g} s", hint="try again"
            ) from None
        finally:
            del _answers[token]
        if isinstance(piece, AudioError):
            raise piece
        return piece


def _take_answer(token: str, piece: _Piece | AudioError) -> None:
    """Hand a piece to who waits for it, on its worker."""
    if token in _answers:
        _answers[token].put(piece)


class Shipper:
    """A client's side: answers what workers ask for of the files that `locate` finds by key."""

    def __init__(self, client: Client, locate: Callable[[str], str | None]) -> None:
        self._client = client
        self._locate = locate
        self._turns = asyncio.Semaphore(_ON_THEIR_WAY)
        self._answering: set[asyncio.Task[None]] = set()  # else they may be collected
        client.subscribe_topic(WANTED, self._on_wanted)

    def _on_wanted(self, event: tuple[float, Any]) -> None:
        key, address, token, offset, size = event[1]
        path = self._locate(key)
        if path is not None:  # else it is of another client
            task = asyncio.ensure_future(self._answer(address, token, path, offset, size))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, address: str, token: str, path: str, offset: int, size: int) -> None:
        async with self._turns:
            piece = await asyncio.to_thread(_read_piece, path, offset, size)
            answering = self._client.run(
                _take_answer, token, piece, workers=[address], on_error="ignore"
            )
            with suppress(OSError):  # the worker freezes, or the scheduler is lost
                await asyncio.wait_for(answering, _ANSWER_S)


def _read_piece(path: str, offset: int, size: int) -> _Piece | AudioError:
    try:
        with Path(path).open("rb", buffering=0) as file:
            file.seek(offset)
            data, status = file.read(min(size, _PIECE_BYTES)), os.fstat(file.fileno())
    except OSError as error:
        return AudioError(
            f"cannot be sent: {error.strerror}", hint="check its permissions and its disk"
        )
    return _Piece(data, (status.st_size, status.st_mtime_ns))
