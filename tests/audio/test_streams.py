from __future__ import annotations

import io
import os
from contextlib import nullcontext
from pathlib import Path
from typing import IO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.inputs import Breaking, Pipe
from whisper_npu_cli.audio.streams import Arrival, read_stream
from whisper_npu_cli.errors import AudioError


def receive(stream: object) -> Arrival:
    return Arrival(lambda: nullcontext(cast(IO[bytes], stream)))


@given(st.binary(max_size=5000), st.integers(1, 3000))
def test_copy_has_all_bytes_until_it_is_closed(data: bytes, most_bytes: int) -> None:
    arrival = receive(Pipe(data, most_bytes))
    arrival.wait()
    assert not arrival.is_open
    assert Path(arrival.copy.path).read_bytes() == data
    assert arrival.copy.size_bytes == len(data)
    arrival.close()
    arrival.close()
    assert not Path(arrival.copy.path).exists()


def test_what_arrives_is_there_before_the_end() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as writer:
        arrival = receive(stream)
        assert not arrival.has_more(0)
        for n_bytes, data in ((0, b"RI"), (2, b"FF")):
            writer.write(data)
            arrival.wait(n_bytes)
        assert Path(arrival.copy.path).read_bytes() == b"RIFF"
        assert arrival.is_open
        writer.close()
        arrival.wait(4)  # more does not come
        assert arrival.has_more(4)
        arrival.close()


def test_a_pipe_that_is_ended_gives_what_has_arrived() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"RIFF")
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb"):  # which stays open
        arrival = receive(stream)
        arrival.end()
        arrival.wait()
    assert Path(arrival.copy.path).read_bytes() == b"RIFF"
    arrival.close()


def test_a_pipe_that_is_ended_and_never_dry_ends() -> None:
    class Endless(Pipe):
        def read(self, size: int = -1) -> bytes:
            return bytes(size and 1000)

    arrival = receive(Endless(b""))
    arrival.end()
    arrival.wait()
    arrival.close()


def test_what_a_microphone_sends_after_the_end_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("whisper_npu_cli.audio.streams._LINGER_S", 0)
    reading, writing = os.pipe()
    os.write(writing, bytes(1000))
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb"):
        n_bytes = 0
        for chunk in read_stream(stream, lambda: True):
            n_bytes += len(chunk)
            os.write(writing, bytes(1000))
    assert n_bytes == 1000


def test_what_came_before_a_stream_broke_is_waited_for_no_more() -> None:
    arrival = receive(Breaking(bytes(3_000_000), 2_000_000, OSError(5, "Input/output error")))
    for _ in range(2):
        with pytest.raises(AudioError, match=r"^cannot be read: Input/output error$"):
            arrival.wait()
    arrival.wait(1_000_000)
    assert not Path(arrival.copy.path).exists()


def test_stream_is_copied_from_its_position_on() -> None:
    stream = io.BytesIO(b"RIFF, and more")
    stream.seek(6)
    arrival = receive(stream)
    arrival.wait()
    assert Path(arrival.copy.path).read_bytes() == b"and more"
    arrival.close()
