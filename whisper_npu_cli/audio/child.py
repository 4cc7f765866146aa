"""The process in which recordings are decoded, so that a decoder that ends it costs one file.

Its standard input has requests and its standard output the answers; `isolated.py` is the other
end. A request is a line of JSON, then `next` for each piece, or `close`. An answer is a line of
JSON and, where it says so, samples. Where a file that still grows ends, the answer is that more is
needed, and the next `next` comes once more is there, or all of it.
"""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from io import FileIO
from typing import Any

import numpy as np

from whisper_npu_cli.audio.mono import read_mono
from whisper_npu_cli.audio.recording import NEXT, Heard, More, Request
from whisper_npu_cli.errors import AudioError

# Seconds of the CPU for one answer, which is 4 s of sound. FFmpeg has been seen to search a damaged
# avi without an end. A wait for a disk or a network does not count.
PATIENCE_S = 30.0


class _Closed(Exception):  # noqa: N818, nothing is wrong
    """The rest of the recording is not wanted."""


class _GrowingFile(FileIO):
    """A file at whose end `wait` is called with its size, and which ends where it then still does.

    It cannot seek: what is read of it must not depend on how much of it was there.
    """

    def __init__(self, path: str, wait: Callable[[int], None]) -> None:
        super().__init__(path)
        self._wait = wait

    def seekable(self) -> bool:
        return False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            self._wait(self.tell())
            data = super().read(size)
        return data


def main() -> None:
    """Answer requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer

    def give(answer: bytes) -> None:
        if requests.readline().strip() != NEXT:
            raise _Closed
        answers.write(answer)
        answers.flush()
        _arm()

    def wait(n_bytes: int) -> None:
        give(_encode(More(n_bytes)))
        requests.peek(1)  # `next`, which asks for what was asked for before

    for line in requests:
        _arm()
        with suppress(_Closed):
            for answer in _answer(Request(**json.loads(line)), wait):
                give(answer)


def _arm() -> None:
    """End this process by SIGPROF if the next answer costs too much."""
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.setitimer(signal.ITIMER_PROF, PATIENCE_S)


def _answer(request: Request, wait: Callable[[int], None]) -> Iterator[bytes]:
    """Yield the answers for one recording; each is made while the one before is being used."""
    try:
        path = request.path
        with _GrowingFile(path, wait) if request.is_arriving else FileIO(path) as file:
            yield from map(_encode, read_mono(file, request))
        yield _line(kind="End")
    except AudioError as error:
        yield _line(kind="AudioError", message=str(error), hint=error.hint)
    except OSError as error:
        yield _line(kind="OSError", errno=error.errno, message=error.strerror)
    except _Closed:
        raise
    except Exception:
        yield _line(kind="Bug", message=traceback.format_exc())


def _encode(piece: Heard) -> bytes:
    if not isinstance(piece, np.ndarray):
        return _line(kind=type(piece).__name__, **asdict(piece))
    return _line(kind="Samples", n_samples=piece.size) + piece.tobytes()


def _line(**content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"
