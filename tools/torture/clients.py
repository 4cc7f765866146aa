"""Clients of `whisper-npu serve` that go through with it, or vanish, and the server they use."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import IO

import numpy as np
import soundfile

from tests.support.places import SAMPLES
from tools.torture.command import HANG_S, Running
from whisper_npu_cli.dims import SAMPLE_RATE

OPTIONS = (
    *("serve", "--model", "demo", "--device", "cpu", "--language", "en", "--parallel", "2"),
    *("--wyoming", "tcp://127.0.0.1:0", "--grace-s", "20"),
)
_PATIENCE_S = 20.0  # of a client, for an answer that takes a tenth of a second
_HUNG = f"nothing for {_PATIENCE_S:g} s"
_PREFIX = "whisper_npu_"  # of the names of metrics
_BROKEN, _CUT = 0, -1  # the status where a connection ends before the answer, or within it
_BOUNDARY = "----torture"
_PIECE = 64 * 1024  # bytes of a chunk of Wyoming


@dataclass(frozen=True)
class Answer:
    """What a client got: a status of HTTP, and the text or what is wrong."""

    status: int
    text: str

    @property
    def is_refused(self) -> bool:
        """Whether an error was told."""
        return 400 <= self.status < 600 and bool(self.text)

    @property
    def is_cut(self) -> bool:
        """Whether it had begun when the connection ended."""
        return self.status == _CUT

    def describe(self) -> str:
        """Return what came of a request."""
        if self.status == 200:
            return "answered"
        return "refused" if self.is_refused else "cut off"


@dataclass(frozen=True)
class Sound:
    """A recording as clients send it: stereo, of 32 bits, so that it is held in a file."""

    wav: bytes
    pcm: bytes


def compose_sound(folder: Path, n: int) -> Sound:
    """Return a sample `n` times; one of 5 s has 0.6 MB."""
    samples, rate = soundfile.read(SAMPLES / "lucas-1-6-1-8-0.wav", dtype="int16")
    assert rate == SAMPLE_RATE
    wide = np.tile(samples, n).astype(np.int32) << 16
    stereo = np.stack([wide, wide], 1)
    path = folder / f"sound{n}.wav"
    soundfile.write(path, stereo, SAMPLE_RATE, subtype="PCM_32")
    return Sound(path.read_bytes(), stereo.tobytes())


class Served:
    """A server that was started, once it is ready; its port is 0 where it has ended."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.port = self.wyoming_port = 0
        running.wait_for_begin()  # before, its log may be that of another one
        deadline = monotonic() + HANG_S
        while monotonic() < deadline and running.process.poll() is None:
            events = [*self._list_events()]
            addresses = [one["address"] for one in events if one["event"] == "listening"]
            if any(one["event"] == "ready" for one in events):
                self.port, self.wyoming_port = (int(a.rpartition(":")[2]) for a in addresses)
                return
            sleep(0.01)

    def _list_events(self) -> Iterator[dict[str, str]]:
        for line in self.running.home.logs[1].read_text(errors="replace").splitlines():
            if line.startswith("{") and line.endswith("}"):
                yield json.loads(line)

    def count_files(self) -> int:
        """Return how many descriptors it has."""
        return sum(1 for _ in Path(f"/proc/{self.running.process.pid}/fd").iterdir())

    def is_idle(self) -> bool:
        """Return whether nothing is worked on and nothing waits."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_S)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        except OSError:
            return False
        finally:
            connection.close()
        return {f"{_PREFIX}working 0", f"{_PREFIX}waiting 0"} <= {*lines}


Ask = Callable[[Served, Sound], Answer]


def ask_for_text(served: Served, sound: Sound) -> Answer:
    """Ask by OpenAI's API for the text alone."""
    fields = {"model": "demo", "response_format": "text"}
    return _ask(served, "/v1/audio/transcriptions", fields, sound, str.strip)


def ask_whisper_cpp(served: Served, sound: Sound) -> Answer:
    """Ask by whisper.cpp's API."""
    return _ask(served, "/inference", {}, sound, lambda body: json.loads(body)["text"].strip())


def ask_for_stream(served: Served, sound: Sound) -> Answer:
    """Ask by OpenAI's API for a stream of events."""
    fields = {"model": "demo", "stream": "true"}
    answer = _ask(served, "/v1/audio/transcriptions", fields, sound, str)
    if answer.status != 200:
        return answer
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data")]
    last = events[-1] if events else {}
    if "error" in last:
        return Answer(500, last["error"]["message"])
    if last.get("type") != "transcript.text.done":
        return Answer(_CUT, "a stream without an end")
    return Answer(200, last["text"])


def _ask(
    served: Served, path: str, fields: dict[str, str], sound: Sound, read: Callable[[str], str]
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=_PATIENCE_S)
    try:
        body, head = _compose(fields, sound)
        connection.request("POST", path, body, head)
        response = connection.getresponse()
        content = response.read().decode()
        if response.status == 200:
            return Answer(200, read(content))
        error = json.loads(content)["error"]  # whisper.cpp has no more than the message
        return Answer(response.status, error if isinstance(error, str) else error["message"])
    except TimeoutError:
        return Answer(_CUT, _HUNG)
    except http.client.IncompleteRead as error:
        return Answer(_CUT, repr(error))
    except (OSError, http.client.HTTPException) as error:
        return Answer(_BROKEN, repr(error))
    finally:
        connection.close()


def _compose(fields: dict[str, str], sound: Sound) -> tuple[bytes, dict[str, str]]:
    """Return body and head of a form."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    disposition = 'Content-Disposition: form-data; name="file"; filename="talk.wav"'
    parts.append(f"--{_BOUNDARY}\r\n{disposition}\r\n\r\n")
    body = "".join(parts).encode() + sound.wav + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


def ask_wyoming(served: Served, sound: Sound) -> Answer:
    """Ask as Home Assistant does."""
    try:
        address = "127.0.0.1", served.wyoming_port
        with (
            socket.create_connection(address, _PATIENCE_S) as connection,
            connection.makefile("rb") as answers,
        ):
            connection.sendall(_compose_events(sound))
            return _read_transcript(answers)
    except TimeoutError:
        return Answer(_CUT, _HUNG)
    except OSError as error:
        return Answer(_BROKEN, repr(error))


def _compose_events(sound: Sound) -> bytes:
    form = {"rate": SAMPLE_RATE, "width": 4, "channels": 2}
    pieces = [sound.pcm[i : i + _PIECE] for i in range(0, len(sound.pcm), _PIECE)]
    events = [_compose_event("audio-start", form)]
    events += [_compose_event("audio-chunk", form, piece) for piece in pieces]
    return b"".join([*events, _compose_event("audio-stop", {})])


def _compose_event(type_: str, data: dict[str, int], payload: bytes = b"") -> bytes:
    head = {"type": type_, "data": data, "payload_length": len(payload)}
    return json.dumps(head).encode() + b"\n" + payload


def _read_transcript(answers: IO[bytes]) -> Answer:
    status = _BROKEN
    while line := answers.readline():
        head = json.loads(line)
        data = dict(head.get("data") or {})
        data |= json.loads(answers.read(head.get("data_length") or 0) or b"{}")
        if head["type"] == "transcript":
            return Answer(200, data["text"])
        if head["type"] == "error":
            return Answer(int(data["code"]), data["text"])
        status = _CUT
    return Answer(status, "the connection ends before the transcript")


ASKS: dict[str, Ask] = {
    "text": ask_for_text,
    "stream": ask_for_stream,
    "whisper.cpp": ask_whisper_cpp,
    "Wyoming": ask_wyoming,
}


def vanish(served: Served, sound: Sound, random: np.random.Generator) -> None:
    """Send a part of a request or all of it, and be gone after some time."""
    is_wyoming = bool(random.random() < 0.5)
    port = served.wyoming_port if is_wyoming else served.port
    if is_wyoming:
        content = _compose_events(sound)
    else:
        is_streamed = "true" if random.random() < 0.5 else "false"
        body, head = _compose({"model": "demo", "stream": is_streamed}, sound)
        lines = [
            "POST /v1/audio/transcriptions HTTP/1.1",
            "Host: 127.0.0.1",
            *(f"{name}: {value}" for name, value in head.items()),
            f"Content-Length: {len(body)}",
        ]
        content = "\r\n".join([*lines, "", ""]).encode() + body
    share = 1.0 if random.random() < 0.5 else random.random()
    with socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as connection:
        connection.sendall(content[: int(share * len(content))])
        sleep(random.uniform(0, 0.3))
        if random.random() < 0.5:  # the connection is reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
