"""The process in which recordings are decoded, so that a decoder that ends it costs one file.

Its standard input has requests and its standard output the answers; `isolated.py` is the other
end. A request is a line of JSON, then `next` for each piece, or `close`. An answer is a line of
JSON and, where it says so, samples.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from whisper_npu_cli.audio.mono import read_mono
from whisper_npu_cli.audio.recording import NEXT, Heard, Request
from whisper_npu_cli.errors import AudioError

# Seconds of the CPU for one answer, which is 4 s of sound. FFmpeg has been seen to search a damaged
# avi without an end. A wait for a disk or a network does not count.
PATIENCE_S = 30.0


def main() -> None:
    """Answer requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin.buffer:
        _arm()
        for answer in _answer(Request(**json.loads(line))):
            if sys.stdin.buffer.readline().strip() != NEXT:
                break
            answers.write(answer)
            answers.flush()
            _arm()


def _arm() -> None:
    """End this process by SIGPROF if the next answer costs too much."""
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.setitimer(signal.ITIMER_PROF, PATIENCE_S)


def _answer(request: Request) -> Iterator[bytes]:
    """Yield the answers for one recording; each is made while the one before is being used."""
    try:
        with Path(request.path).open("rb", buffering=0) as file:
            yield from map(_encode, read_mono(file, request))
        yield _line(kind="End")
    except AudioError as error:
        yield _line(kind="AudioError", message=str(error), hint=error.hint)
    except OSError as error:
        yield _line(kind="OSError", errno=error.errno, message=error.strerror)
    except Exception:
        yield _line(kind="Bug", message=traceback.format_exc())


def _encode(piece: Heard) -> bytes:
    if not isinstance(piece, np.ndarray):
        return _line(kind=type(piece).__name__, **asdict(piece))
    return _line(kind="Samples", n_samples=piece.size) + piece.tobytes()


def _line(**content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"
