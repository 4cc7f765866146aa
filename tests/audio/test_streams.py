from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.inputs import Breaking, Pipe
from whisper_npu_cli.audio.streams import Copy
from whisper_npu_cli.errors import AudioError


@given(st.binary(max_size=5000), st.integers(1, 3000))
def test_copy_has_all_bytes_until_it_is_closed(data: bytes, most_bytes: int) -> None:
    copy = Copy()
    copy.fill(Pipe(data, most_bytes))  # type: ignore[arg-type]
    copy.write(b"and more")
    assert Path(copy.path).read_bytes() == data + b"and more"
    assert copy.size_bytes == len(data) + 8
    copy.close()
    copy.close()
    assert not Path(copy.path).exists()


def test_a_pipe_that_is_ended_gives_what_has_arrived() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"RIFF")
    copy = Copy()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb"):  # which stays open
        copy.fill(stream, lambda: True)
    assert Path(copy.path).read_bytes() == b"RIFF"


def test_a_pipe_that_is_ended_and_never_dry_ends() -> None:
    class Endless(Pipe):
        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    copy = Copy()
    copy.fill(Endless(b""), lambda: True)  # type: ignore[arg-type]
    assert 0 < copy.size_bytes < 3_000_000


def test_half_a_stream_is_not_kept() -> None:
    copy = Copy()
    with pytest.raises(AudioError, match=r"^cannot be read: Input/output error$"):
        copy.fill(Breaking(bytes(3_000_000), 2_000_000, OSError(5, "Input/output error")))
    assert not Path(copy.path).exists()


def test_stream_is_copied_from_its_position_on() -> None:
    stream = io.BytesIO(b"RIFF, and more")
    stream.seek(6)
    copy = Copy()
    copy.fill(stream)
    assert Path(copy.path).read_bytes() == b"and more"
