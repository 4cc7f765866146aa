"""whisper.cpp's `whisper-stream` on a recording, as if it were spoken: what it prints, and when.

It records through SDL, whose driver `disk` takes samples from a file. Here that is a pipe, into
which each block is written once its last sample was spoken. Nothing can be computed ahead, so this
runs in real time. A line is settled at its end: until then each step prints it anew.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from time import perf_counter, sleep
from typing import IO

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.dims import SAMPLE_RATE

STEP_S, _STEPS_IN_LINE = 3.0, 2  # its defaults
_BLOCK_SAMPLES = SAMPLE_RATE // 20
_READY = b"[Start speaking]\n"  # it records already while the model is loaded
_REDRAWN, _BLANKS = b"\33[2K\r", b" " * 100  # a step begins the line anew, with blanks, and anew
_NOISE = re.compile(r"\[[^\]]*\]|\([^)]*\)")  # what it writes for sounds: "[BLANK_AUDIO]"


@dataclass(frozen=True)
class Line:
    """A line that is finished, and when, in seconds since the recording began.

    What it says was said after `since_s`, which is the end of the line before, less a line's audio.
    """

    text: str
    clock_s: float
    since_s: float


@dataclass
class Printed:
    """What came of a recording so far."""

    lines: list[Line] = field(default_factory=list)
    n_steps: int = 0
    n_due: int = 0  # steps that there was audio for
    began_s: float | None = None  # on the clock of the machine, once it listens


def stream_whisper_cpp(
    checkout: Path, model: Path, samples: NDArray[np.float32], n_threads: int
) -> Printed:
    """Let `whisper-stream` hear samples (n,) by its default steps; return what it printed."""
    binary = checkout / "build" / "bin" / "whisper-stream"
    command = [str(binary), "-m", str(model), "-t", str(n_threads), "-l", "en"]
    with tempfile.TemporaryDirectory() as folder:
        pipe = Path(folder, "microphone")
        os.mkfifo(pipe)
        disk = {"SDL_AUDIODRIVER": "disk", "SDL_DISKAUDIOFILEIN": str(pipe)}
        environment = {**os.environ, **disk, "SDL_DISKAUDIODELAY": "0"}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout
            printed = Printed()
            reader = Thread(target=_read, args=(process.stdout, printed))
            reader.start()
            with pipe.open("wb", buffering=0) as microphone:
                _speak(microphone, samples, printed)
                process.send_signal(signal.SIGINT)
                with suppress(BrokenPipeError):  # it ends at its next step
                    while process.poll() is None:
                        microphone.write(bytes(4 * _BLOCK_SAMPLES))
            reader.join()
    return printed


def _speak(microphone: IO[bytes], samples: NDArray[np.float32], printed: Printed) -> None:
    """Write silence until it listens, then the samples in their time, then silence for a line."""
    silence = np.zeros(_BLOCK_SAMPLES, np.float32)
    while printed.began_s is None:
        microphone.write(silence.tobytes())
        sleep(_BLOCK_SAMPLES / SAMPLE_RATE)
    rest_s = 2 * _STEPS_IN_LINE * STEP_S  # for the last line to be finished, even if it is slow
    padded = np.append(samples, np.zeros(round(rest_s * SAMPLE_RATE), np.float32))
    printed.n_due = round(padded.size / SAMPLE_RATE / STEP_S)
    for end in range(_BLOCK_SAMPLES, padded.size, _BLOCK_SAMPLES):
        sleep(max(0.0, printed.began_s + end / SAMPLE_RATE - perf_counter()))
        microphone.write(padded[end - _BLOCK_SAMPLES : end].tobytes())


def _read(stdout: IO[bytes], printed: Printed) -> None:
    """Take what is printed, with its time, until it ends."""
    text = b""
    for byte in iter(lambda: stdout.read(1), b""):
        text += byte
        if printed.began_s is None:
            if text.endswith(_READY):
                printed.began_s, text = perf_counter(), b""
        elif text.endswith(_REDRAWN):
            printed.n_steps += text == _BLANKS + _REDRAWN
            text = b""
        elif byte == b"\n":
            said = _NOISE.sub("", text.decode(errors="replace")).strip()
            last_s = printed.lines[-1].clock_s if printed.lines else 0.0
            clock_s = perf_counter() - printed.began_s
            printed.lines.append(Line(said, clock_s, last_s - _STEPS_IN_LINE * STEP_S))
            text = b""
