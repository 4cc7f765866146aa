"""Recordings that are read while they arrive through a pipe, beside the same ones as files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.support.bad_audio import RATE, tone
from tests.support.inputs import Pipe, read_samples
from tools.recordings.encode import Coding, write
from whisper_npu_cli.audio.encoded import FileSource, StreamSource

SECONDS = 20
STREAMS = {
    "wav": Coding("pcm_s16le", 48_000, 2),
    "au": Coding("pcm_s16be", 44_100),
    "flac": Coding("flac", 44_100, 2),
    "mp3": Coding("libmp3lame", 44_100),
    "aac": Coding("aac", 48_000),
    "ogg": Coding("libopus", 48_000),
    "ts": Coding("aac", 48_000),
    "mkv": Coding("aac", 48_000),
    "webm": Coding("libopus", 48_000),
}


@pytest.fixture
def pipe() -> Iterator[tuple[StreamSource, BinaryIO]]:
    """A source that reads a pipe, and the other end of it."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as writer:
        source = StreamSource(stream, "pipe")
        yield source, writer
        source.close()


def make(path: Path, coding: Coding) -> bytes:
    return write(path, tone(SECONDS)[:, 0], coding).read_bytes()


def hear(
    source: StreamSource, writer: BinaryIO, data: bytes, *, stays_open: bool = False
) -> tuple[NDArray[np.float32], int]:
    """Return what is heard of `data`, and how many bytes were written when the first block came.

    More is written only when the source says that it would wait.
    """
    n_written, first, heard, is_awaited = 0, 0, [np.zeros(0, np.float32)], False
    for block in source.listen():
        if block.size:
            first = first or n_written
            heard.append(block)
            is_awaited = False
            continue
        is_awaited = not is_awaited
        if is_awaited and n_written < len(data):
            n_written += writer.write(data[n_written : n_written + 20_000])
            if n_written == len(data):
                source.end() if stays_open else writer.close()
    return np.concatenate(heard), first


@pytest.mark.parametrize("suffix", STREAMS)
def test_stream_is_read_while_it_arrives_as_from_a_file(
    tmp_path: Path, pipe: tuple[StreamSource, BinaryIO], suffix: str
) -> None:
    data = make(tmp_path / f"talk.{suffix}", STREAMS[suffix])
    heard, first = hear(*pipe, data)
    expected = read_samples(tmp_path / f"talk.{suffix}")
    # Only in a file FFmpeg finds how much of the last frame of mp3 is padding: at most 1152
    # samples, of which the resampler hears some before they begin.
    slack = 1152 if suffix == "mp3" else 0
    assert 0 <= heard.size - expected.size <= slack
    n = expected.size - slack
    np.testing.assert_array_equal(heard[:n], expected[:n])
    assert 0 < first < len(data)
    assert pipe[0].damage == ()
    assert not pipe[0].is_arriving
    np.testing.assert_array_equal(np.concatenate(list(pipe[0].blocks())), expected)


@pytest.mark.parametrize("stated", [0, 0x7FFF_F000, 0xFFFF_FFFF])
def test_wav_without_an_end_is_ended(
    tmp_path: Path, pipe: tuple[StreamSource, BinaryIO], stated: int
) -> None:
    path = tmp_path / "talk.wav"
    soundfile.write(path, tone(SECONDS), RATE)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = stated.to_bytes(4, "little")  # what programs write into pipes
    heard, _ = hear(*pipe, bytes(data), stays_open=True)
    np.testing.assert_array_equal(heard, read_samples(path))
    assert pipe[0].damage == ()


def test_cut_stream_is_damaged_at_its_end(
    tmp_path: Path, pipe: tuple[StreamSource, BinaryIO]
) -> None:
    path = tmp_path / "talk.wav"
    soundfile.write(path, tone(SECONDS), RATE)
    heard, _ = hear(*pipe, path.read_bytes()[: SECONDS * RATE])  # half of its bytes
    (damage,) = pipe[0].damage
    assert damage.start == pytest.approx(heard.size / RATE, abs=1e-3)
    assert damage.end == pytest.approx(SECONDS, abs=2e-3)  # as the header's bytes say


@pytest.mark.parametrize(
    ("suffix", "coding"),
    [
        ("m4a", Coding("aac", 48_000)),
        ("mp4", Coding("aac", 48_000, options={"movflags": "frag_keyframe+empty_moov"})),
    ],
)
def test_what_has_an_index_is_read_at_its_end(
    tmp_path: Path, pipe: tuple[StreamSource, BinaryIO], suffix: str, coding: Coding
) -> None:
    source, writer = pipe
    data = make(tmp_path / f"talk.{suffix}", coding)
    writer.write(data[:20_000])
    assert [block for block in source.listen() if block.size] == []  # it only waits
    source.end()
    writer.write(data[20_000:])
    expected = read_samples(tmp_path / f"talk.{suffix}")
    np.testing.assert_array_equal(np.concatenate(list(source.blocks())), expected)


def test_stream_that_breaks_is_damaged_from_there_on(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", tone(SECONDS), RATE)
    data = (tmp_path / "talk.wav").read_bytes()
    was_heard = Event()

    class Breaking(Pipe):
        def read(self, size: int = -1) -> bytes:
            if half := super().read(size):
                return half
            was_heard.wait()
            raise OSError(5, "Input/output error")

    source = StreamSource(Breaking(data[: len(data) // 2]), "pipe")  # type: ignore[arg-type]
    n_samples = 0
    for block in source.listen():
        n_samples += block.size
        was_heard.set()
    (damage,) = source.damage
    assert (damage.start, damage.end) == (round(n_samples / RATE, 3), None)
    assert damage.reason == "cannot be read: Input/output error"
    assert 0 < n_samples < SECONDS * RATE


def test_what_follows_another_stream_is_told_to_be_missing(tmp_path: Path) -> None:
    parts = [
        make(tmp_path / f"{coding.codec}.ts", coding)
        for coding in (Coding("mp2", 32_000), Coding("aac", 48_000, 2))
    ]
    source = StreamSource(Pipe(b"".join(parts)), "pipe")  # type: ignore[arg-type]
    n_samples = sum(block.size for block in source.listen())
    assert SECONDS * RATE <= n_samples < 1.1 * SECONDS * RATE
    assert [damage.is_loss for damage in source.damage] == [True]


def test_what_is_no_audio_has_no_blocks_and_is_refused_at_its_end() -> None:
    source = StreamSource(Pipe(b"#EXTM3U\nhttp://localhost:1/a.wav\n"), "pipe")  # type: ignore[arg-type]
    assert [block for block in source.listen() if block.size] == []
    assert source.damage == ()
    with pytest.raises(Exception, match="not audio"):
        list(source.blocks())


def test_files_do_not_arrive(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", tone(1.0), RATE)
    os.mkfifo(tmp_path / "pipe")
    assert not FileSource(tmp_path / "talk.wav").is_arriving
    assert not FileSource(tmp_path / "none.wav").is_arriving
    assert FileSource(tmp_path / "pipe").is_arriving
    with (tmp_path / "talk.wav").open("rb") as file:
        assert not StreamSource(file, "file").is_arriving
