from __future__ import annotations

import io
import os
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from time import sleep

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.bad_audio import RATE, tone
from tests.support.inputs import Breaking, Pipe, read_samples
from whisper_npu_cli.audio.encoded import FileSource, StreamSource
from whisper_npu_cli.audio.sources import (
    KeptSource,
    SamplesSource,
    Source,
    make_rereadable,
    open_source,
)
from whisper_npu_cli.errors import AudioError, UsageError, WhisperNpuError

FULL = Path("/dev/full")


class Live:
    """A source that can be read once."""

    name = "microphone"
    can_reread = False

    def __init__(self, blocks: list[NDArray[np.float32]]) -> None:
        self._blocks = iter(blocks)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        yield from self._blocks

    def close(self) -> None:
        pass


@pytest.fixture
def wav() -> bytes:
    """2 s of sound."""
    soundfile.write(buffer := io.BytesIO(), tone(), RATE, format="WAV")
    return buffer.getvalue()


def test_each_kind_of_audio_has_its_source(tmp_path: Path, wav: bytes) -> None:
    live = Live([])
    (tmp_path / "a.wav").write_bytes(wav)
    with (tmp_path / "a.wav").open("rb") as file:
        named = open_source(file)
        assert (type(named), named.name) == (StreamSource, str(tmp_path / "a.wav"))
    others = {FileSource: "a.wav", StreamSource: wav, SamplesSource: tone()[:, 0]}
    for kind, audio in others.items():
        source = open_source(audio)
        assert type(source) is kind
        assert isinstance(source, Source)
        assert source.name
        assert make_rereadable(source) is source
    assert open_source(live) is live
    assert open_source(Path("-")).name == "-"  # a file: it is the command line's word


@pytest.mark.parametrize(
    ("audio", "message", "hint"),
    [
        (io.StringIO("RIFF"), "a text file", '"rb"'),
        (7, "int is no audio", "path"),
        (None, "NoneType is no audio", "path"),
        (np.zeros(9, np.int16), "samples: int16", "divide them by 32768"),
        (np.zeros(9, np.uint8), "samples: uint8", "between -1 and 1"),
        (np.zeros(9, complex), "samples: complex128", "between -1 and 1"),
        (np.zeros((9, 2), np.float32), r"samples: of shape \(9, 2\)", "average"),
        (np.zeros(0, np.float32), "samples: has no samples", "record"),
        (np.full(9, np.nan, np.float32), "samples: has a sample of nan", "export"),
        (np.full(9, 1e300), "samples: has a sample of inf", "export"),
    ],
)
def test_what_is_no_audio_is_refused(audio: object, message: str, hint: str) -> None:
    with pytest.raises(WhisperNpuError, match=message) as caught:
        read_samples(audio)  # type: ignore[arg-type]
    assert hint in (caught.value.hint or "")
    assert isinstance(caught.value, UsageError | AudioError)


def test_text_file_is_refused(tmp_path: Path) -> None:
    with (
        tempfile.NamedTemporaryFile("w", dir=tmp_path) as file,  # a wrapper, no io.TextIOBase
        pytest.raises(UsageError, match="a text file"),
    ):
        open_source(file)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_samples_are_what_was_given(kind: str) -> None:
    samples = np.tile(tone(), (9, 1))[::-1, 0].astype(kind)  # 18 s: several blocks
    found = read_samples(samples)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, samples.astype(np.float32))


def test_stream_is_left_open_and_can_be_read_in_turns(wav: bytes) -> None:
    stream = io.BytesIO(b"before" + wav)
    stream.seek(6)
    source = open_source(stream)
    expected = read_samples(wav)
    stream.seek(0)  # by its owner
    pairs = list(zip(source.blocks(), source.blocks(), strict=True))
    for found in zip(*pairs, strict=True):
        np.testing.assert_array_equal(np.concatenate(found), expected)
    source.close()
    assert not stream.closed


def test_stream_is_copied_once_and_without_a_trace(
    tmp_path: Path, wav: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = open_source(Pipe(wav, most_bytes=777))  # type: ignore[arg-type]
    first, second = list(source.blocks()), list(source.blocks())
    assert len(list(tmp_path.iterdir())) == 1
    source.close()
    source.close()
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(np.concatenate(first), read_samples(wav))
    np.testing.assert_array_equal(np.concatenate(second), np.concatenate(first))


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(5, "Input/output error"), r"^stream: cannot be read: Input/output error$"),
        (ConnectionResetError("peer"), r"^stream: cannot be read: peer$"),
    ],
)
@pytest.mark.parametrize("part", [0.0, 0.5])
def test_stream_that_breaks_is_named(
    suffix: str, error: OSError, message: str, part: float
) -> None:
    soundfile.write(buffer := io.BytesIO(), tone(20.0), RATE, format=suffix.upper())
    data = buffer.getvalue()
    with pytest.raises(AudioError, match=message) as caught:
        read_samples(Breaking(data, int(len(data) * part), error))
    assert caught.value.hint


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TypeError("a bug")])
def test_what_is_no_fault_of_the_audio_passes_through_a_library(
    wav: bytes, error: BaseException, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)):
        read_samples(Breaking(wav, 5_000, error))
    assert capfd.readouterr().err == ""


def test_pipe_that_breaks_is_not_taken_for_its_end(wav: bytes) -> None:
    class Broken(Pipe):
        def read(self, size: int = -1) -> bytes:
            if data := super().read(min(size, 5_000)):
                return data
            raise BrokenPipeError(32, "Broken pipe")

    source = open_source(Broken(wav))  # type: ignore[arg-type]
    for _ in range(2):  # nor is half of it read again
        with pytest.raises(AudioError, match=r"^stream: cannot be read: "):
            list(source.blocks())


def test_pipe_that_does_not_wait_is_waited_for(wav: bytes) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def write() -> None:
        with os.fdopen(writing, "wb", buffering=0) as stream:
            for start in range(0, len(wav), 10_000):
                stream.write(wav[start : start + 10_000])
                sleep(0.01)

    writer = Thread(target=write)
    with os.fdopen(reading, "rb", buffering=0) as stream:
        writer.start()
        np.testing.assert_array_equal(read_samples(stream), read_samples(wav))  # type: ignore[arg-type]
    writer.join()


def test_stream_that_has_nothing_yet_is_not_taken_for_its_end() -> None:
    class Unready(io.RawIOBase):
        def read(self, _size: int = -1) -> None:  # as those without a descriptor may
            return None

    with pytest.raises(AudioError, match="does not wait"):
        read_samples(Unready())  # type: ignore[arg-type]


def test_stream_that_is_closed_is_named(wav: bytes) -> None:
    stream = io.BytesIO(wav)
    source = open_source(stream)
    stream.close()
    with pytest.raises(AudioError, match=r"^stream: cannot be read: I/O operation on closed file"):
        next(source.blocks())
    with pytest.raises(AudioError, match=r"^stream: cannot be read: I/O operation on closed file"):
        open_source(stream)


@pytest.mark.skipif(not FULL.exists(), reason="Linux has a disk that is full")
def test_full_temporary_folder_is_named(
    tmp_path: Path, wav: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tempfile.NamedTemporaryFile", lambda **_: FULL.open("w+b"))
    pipe = open_source(Pipe(wav))  # type: ignore[arg-type]
    for source in (pipe, KeptSource(Live([tone()[:, 0]]))):
        with pytest.raises(AudioError) as caught:
            list(source.blocks())
        source.close()
        reason = f"{source.name}: cannot be copied to {tmp_path}: No space left on device"
        assert str(caught.value) == reason
        assert "TMPDIR" in (caught.value.hint or "")


@given(st.lists(st.integers(0, 3000), min_size=1))
def test_kept_samples_are_those_that_passed(sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.standard_normal(size).astype(np.float32) for size in [*sizes, 1]]
    source = make_rereadable(Live(blocks))
    assert source.can_reread
    passed = list(source.blocks())
    assert all(a is b for a, b in zip(passed, blocks, strict=True))
    for _ in range(2):
        kept = np.concatenate(list(source.blocks()))
        assert kept.dtype == np.float32
        np.testing.assert_array_equal(kept, np.concatenate(blocks))
    source.close()
    source.close()


def test_kept_samples_need_a_first_reading_to_the_end() -> None:
    source = make_rereadable(Live([tone()[:, 0]] * 2))
    next(source.blocks())
    with pytest.raises(RuntimeError, match="before its end"):
        next(source.blocks())


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([], "microphone: has no samples"),
        ([np.zeros(9, np.int16)], "microphone: gives blocks of int16"),
        ([np.zeros((9, 1), np.float32)], r"microphone: gives blocks of float32 \(9, 1\)"),
        (
            [tone()[:, 0], np.full(9, np.inf, np.float32)],
            r"microphone: has a sample of inf.* after 2\.0 s",
        ),
    ],
)
def test_live_samples_are_checked(blocks: list[NDArray[np.float32]], message: str) -> None:
    with pytest.raises(AudioError, match=message):
        list(make_rereadable(Live(blocks)).blocks())


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_in_blocks_is_resampling_at_once(tmp_path: Path, rate: int) -> None:
    samples = tone(3.0, rate)
    path = tmp_path / "tone.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    expected = soxr.resample(samples[:, 0], rate, RATE, quality="HQ")
    # the filter is the same; blocks change the rounding of fp32
    np.testing.assert_allclose(read_samples(path), expected, atol=1e-5)


def test_sample_rate_beyond_sense_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slow.wav"
    soundfile.write(path, tone(0.1), 10)
    with pytest.raises(AudioError, match=r"slow\.wav: has a sample rate of 10 Hz"):
        read_samples(path)


def test_named_pipe_is_read_once_and_kept(tmp_path: Path, wav: bytes) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = Thread(target=path.write_bytes, args=[wav])
    writer.start()
    source = FileSource(path)
    source.check()  # takes nothing from it
    first, second = (np.concatenate(list(source.blocks())) for _ in range(2))
    writer.join()
    source.close()
    np.testing.assert_array_equal(first, read_samples(wav))
    np.testing.assert_array_equal(second, first)


def test_device_is_refused_with_a_way_out() -> None:
    with pytest.raises(AudioError, match="/dev/zero: neither a file nor a pipe") as caught:
        read_samples("/dev/zero")
    assert "pipe it into -" in (caught.value.hint or "")


@pytest.mark.parametrize("suffix", [".flac", ".mp3"])  # one for each library
def test_memory_does_not_grow_with_length(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"long{suffix}"
    soundfile.write(path, np.tile(tone(10.0), (12, 1)), RATE)  # 2 minutes: 8 MB of samples
    for _ in FileSource(path).blocks():  # imports
        break
    tracemalloc.start()
    n_samples = sum(block.size for block in FileSource(path).blocks())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_samples == 120 * RATE
    assert peak < 2_000_000  # a few blocks of 65,536 samples, 262 kB each
