from __future__ import annotations

import io
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.inputs import Breaking, ShortReads
from whisper_npu_cli.audio.streams import Copy, Section
from whisper_npu_cli.errors import AudioError

MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 300), st.just(0)),
        st.tuples(st.just("seek"), st.integers(-300, 600), st.integers(0, 2)),
    )
)


@given(st.binary(max_size=500), st.integers(0, 50), MOVES)
def test_section_is_a_file_of_its_own(
    data: bytes, start: int, moves: list[tuple[str, int, int]]
) -> None:
    expected = io.BytesIO(data[start:])
    section = Section(ShortReads(data), start)
    assert section.size_bytes == len(data[start:])
    for move, amount, whence in moves:
        if move == "read":
            assert section.read(amount) == expected.read(amount)
        else:
            target = (0, expected.tell(), section.size_bytes)[whence] + amount
            if target >= 0:  # another is ignored, as the operating system does
                expected.seek(target)
            assert section.seek(amount, whence) == expected.tell()
        assert section.tell() == expected.tell()


def test_section_keeps_an_error_until_it_ends() -> None:
    with (
        pytest.raises(AudioError, match=r"^cannot be read: Input/output error$"),
        Section(Breaking(bytes(100), 50, OSError(5, "Input/output error")), 0) as section,
    ):
        assert section.read(30) == bytes(30)
        assert section.read(30) == b""
        section.seek(0)
        assert section.read(30) == b""  # no sound after a gap


def test_section_raises_nothing_in_a_reader_that_is_given_up() -> None:
    def read() -> Generator[bytes, None, None]:
        with Section(Breaking(bytes(100), 50, OSError(5, "Input/output error")), 0) as section:
            yield section.read(60)

    reading = read()
    assert next(reading) == b""
    reading.close()


def test_copy_that_is_closed_cannot_be_read() -> None:
    copy = Copy()
    copy.write(b"RIFF")
    assert copy.open().read(9) == b"RIFF"
    copy.close()
    with pytest.raises(AudioError, match="closed file"):
        copy.open()
