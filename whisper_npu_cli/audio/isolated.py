"""Read recordings in a process of their own (`child.py`): no input ends this one.

Decoders are large programs in C that read what strangers made; one of them ends the process on a
file whose channels change. A process is kept for the next recording, and replaced when it ended.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from whisper_npu_cli.audio.recording import (
    ALL_TRACKS,
    CLOSE,
    NEXT,
    Heard,
    More,
    Notice,
    Request,
    make_damage,
)
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.environment import make_command
from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.transcript import Damage

_MAX_IDLE = 2  # processes of about 60 MB
_LAST = ("End", "AudioError", "OSError")  # kinds of answers after which there is none
_MAIN = "from whisper_npu_cli.audio.child import main; main()"


def read_isolated(request: Request) -> Generator[Heard]:
    """Yield what `mono.read_mono` does.

    Of a file that still grows, `More` is yielded where it ends; if no more is there when the next
    piece is asked for, that was all of it.

    AudioError where nothing can be decoded; OSError where the file cannot be opened.
    """
    process = _take()
    _busy.add(process)  # the garbage collector must not close its pipes before this generator
    try:
        yield from process.read(request)
    finally:
        _busy.remove(process)
        if process.is_ready and len(_idle) < _MAX_IDLE:
            _idle.append(process)
        else:
            process.close()


def count_tracks(path: str) -> int:
    """Return the number of audio tracks; AudioError where there is none."""
    request = Request(path, track=ALL_TRACKS)
    with closing(read_isolated(request)) as descriptions:
        return sum(1 for _ in descriptions)


def prepare() -> None:
    """Start a process, so that it is ready when the first recording is read: 0.3 s."""
    if not _idle:
        _idle.append(_Process())


class _Process:
    """One process, which reads one recording at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            make_command(_MAIN),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._is_reading = False

    @property
    def is_ready(self) -> bool:
        """Whether another recording can be read."""
        return not self._is_reading and self._process.poll() is None

    def read(self, request: Request) -> Iterator[Heard]:
        """Yield the answers to one request.

        It is ready again once both sides are at the end of it: what is left in the pipes would be
        taken for the answers to the next one.
        """
        self._is_reading = True
        n_samples = 0
        absolute = replace(request, path=str(Path(request.path).absolute()))
        self._send(json.dumps(asdict(absolute)).encode())
        while (answer := self._ask()) is not None:
            self._is_reading = answer[0]["kind"] not in _LAST
            piece = _parse(*answer)
            if piece is None:
                return
            n_samples += piece.size if isinstance(piece, np.ndarray) else 0
            try:
                yield piece
            except GeneratorExit:
                self._send(CLOSE)
                self._is_reading = False
                raise
        yield self._explain_end(n_samples / SAMPLE_RATE)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._input, self._output):
            with suppress(OSError):
                pipe.close()

    def _send(self, line: bytes) -> None:
        with suppress(BrokenPipeError):  # it has ended, which reading tells
            self._input.write(line + b"\n")
            self._input.flush()

    def _ask(self) -> tuple[dict[str, Any], bytes] | None:
        """Return the next answer, a line and samples, or None where the process has ended."""
        self._send(NEXT)
        line = self._output.readline()
        if not line.endswith(b"\n"):
            return None
        answer = json.loads(line)
        n_bytes = answer.pop("n_samples", 0) * np.float32().itemsize
        data = self._output.read(n_bytes)
        return (answer, data) if len(data) == n_bytes else None

    def _explain_end(self, now_s: float) -> Damage:
        """Return what an end that no answer told has cost; AudioError where that is all."""
        status = self._process.wait()
        if status > 0:  # not by the recording: the system refused it a file, memory, or a write
            reason = f"its decoder ended with status {status}"
            error = AudioError(reason, hint="end other programs; try again")
            raise error from ChildProcessError(reason)
        if -status == signal.SIGPROF:
            reason = "its decoder finds no end"
        else:
            reason = f"its decoder crashed ({signal.Signals(-status).name})"
        if not now_s:
            raise AudioError(reason, hint="convert it, for example to wav, or leave it out")
        return make_damage(now_s, None, reason)


def _take() -> _Process:
    """Return a process that is ready."""
    while _idle:
        with suppress(IndexError):  # another thread has taken the last one
            process = _idle.pop()
            if process.is_ready:
                return process
            process.close()
    return _Process()


def _parse(content: dict[str, Any], data: bytes) -> Heard | None:
    """Return what an answer holds, or None for the end; raise the error that it tells."""
    kind = content.pop("kind")
    if kind == "Samples":
        return np.frombuffer(data, np.float32)
    if kind == "Damage":
        return Damage(**content)
    if kind == "Notice":
        return Notice(**content)
    if kind == "More":
        return More(**content)
    if kind == "AudioError":
        raise AudioError(content["message"], hint=content["hint"])
    if kind == "OSError":
        raise OSError(content["errno"], content["message"])
    if kind == "Bug":
        raise RuntimeError(content["message"])
    return None


def _close_all() -> None:
    while _idle:
        _idle.pop().close()


_busy: set[_Process] = set()
_idle: list[_Process] = []
atexit.register(_close_all)
if hasattr(os, "register_at_fork"):  # both would read the answers
    os.register_at_fork(after_in_child=_idle.clear)
