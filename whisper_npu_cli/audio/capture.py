"""Microphones: a program of the sound system records, and its output is the source.

PipeWire's, PulseAudio's or ALSA's, whichever is there; no library is needed. Their manuals:
pw-cat(1), pacat(1), arecord(1).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from whisper_npu_cli.audio.live import PcmSource
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError

_RATE = str(SAMPLE_RATE)
_LATENCY_MS = "50"  # parec's own is 2 s
_END_S = 2.0  # that a recorder is given to end
_INSTALL = (
    "install one: apt install pulseaudio-utils (or alsa-utils), dnf install pipewire-utils; or "
    "pipe 16-bit mono PCM at 16 kHz into `whisper-npu listen --input -`"
)


@dataclass(frozen=True)
class Device:
    """What sound comes from: its name for `--input`, and what it is."""

    name: str
    description: str


@dataclass(frozen=True)
class Recorder:
    """A program that records: its command line, and how it names its devices."""

    command: tuple[str, ...]  # raw PCM on standard output
    device_flag: str
    end: tuple[str, ...]  # of the command line, after the device
    list_command: tuple[str, ...]
    read_devices: Callable[[str], list[Device]]

    @property
    def name(self) -> str:
        """The program."""
        return self.command[0]

    def make_command(self, device: str | None) -> list[str]:
        """Return the command line that records from a device, or from the default one."""
        chosen = [f"{self.device_flag}{device}"] if device is not None else []
        return [*self.command, *chosen, *self.end]


def _read_pw_dump(text: str) -> list[Device]:
    found = []
    for item in json.loads(text):
        said = (item.get("info") or {}).get("props") or {}
        if said.get("media.class") in ("Audio/Source", "Audio/Source/Virtual"):
            found.append(Device(said["node.name"], said.get("node.description", "")))
    return found


def _read_pactl(text: str) -> list[Device]:
    """Read lines of number, name, driver, format, state with tabs between."""
    rows = (line.split("\t") for line in text.splitlines())
    return [Device(row[1], row[3]) for row in rows if len(row) > 3]


def _read_arecord(text: str) -> list[Device]:
    """Read names, each with its description below, which is indented."""
    found: list[Device] = []
    for line in text.splitlines():
        if line[:1].strip():
            found.append(Device(line.strip(), ""))
        elif found and not found[-1].description:
            found[-1] = Device(found[-1].name, line.strip())
    return found


RECORDERS = (
    Recorder(
        ("pw-record", "--raw", "--rate", _RATE, "--channels", "1", "--format", "s16"),
        "--target=",
        ("-",),
        ("pw-dump",),
        _read_pw_dump,
    ),
    Recorder(
        (
            *("parec", "--raw", f"--rate={_RATE}", "--channels=1", "--format=s16le"),
            f"--latency-msec={_LATENCY_MS}",
        ),
        "--device=",
        (),
        ("pactl", "list", "short", "sources"),
        _read_pactl,
    ),
    Recorder(
        ("arecord", "-q", "-t", "raw", "-f", "S16_LE", "-r", _RATE, "-c", "1"),
        "--device=",
        (),
        ("arecord", "-L"),
        _read_arecord,
    ),
)


def find_recorder() -> Recorder:
    """Return the first recorder that is installed; AudioError says what to install."""
    for recorder in RECORDERS:
        if shutil.which(recorder.name) and _can_record(recorder):
            return recorder
    names = ", ".join(recorder.name for recorder in RECORDERS)
    raise AudioError(f"no program that records is installed ({names})", hint=_INSTALL)


def list_devices() -> list[Device]:
    """Return what can be recorded from; AudioError where that cannot be told."""
    recorder = find_recorder()
    command = recorder.list_command
    if shutil.which(command[0]) is None:
        raise AudioError(
            f"{command[0]} is not installed, which lists the devices of {recorder.name}",
            hint="leave out --input for the default device",
        )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _failed(command[0], done.returncode, done.stderr)
    return recorder.read_devices(done.stdout)


class Microphone(PcmSource):
    """A device, by its name, or the default one."""

    def __init__(self, device: str | None = None) -> None:
        """Find what records; AudioError where nothing does."""
        recorder = find_recorder()
        self._command = recorder.make_command(device)
        name = device if device is not None else f"the default device ({recorder.name})"
        super().__init__(name, self._record)

    @contextmanager
    def _record(self) -> Iterator[IO[bytes]]:
        """Let the program record until this is left; AudioError where it ends by itself, failed."""
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this program, which then ends the other
        )
        assert process.stdout is not None
        assert process.stderr is not None
        with process:
            yield process.stdout
            if self.is_ended:
                process.terminate()
            try:
                _, errors = process.communicate(timeout=_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                _, errors = process.communicate()
        if process.returncode and not self.is_ended:
            raise _failed(self._command[0], process.returncode, errors.decode(errors="replace"))


def _can_record(recorder: Recorder) -> bool:
    """Return whether the program knows its options: the pw-record of PipeWire 0.3 has no --raw."""
    if "--raw" not in recorder.command:
        return True
    done = subprocess.run([recorder.name, "--help"], capture_output=True, text=True, check=False)
    return "--raw" in done.stdout + done.stderr


def _failed(program: str, status: int, errors: str) -> AudioError:
    """Return the error of a program, with the last line that it printed."""
    last = (errors.strip().splitlines() or [f"exit status {status}"])[-1]
    return AudioError(
        f"{program} failed: {last}", hint="`whisper-npu listen --list-devices` names the devices"
    )
