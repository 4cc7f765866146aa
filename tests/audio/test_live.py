"""What is spoken now: in its time, by any clock, and nothing of it dropped."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import IO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from whisper_npu_cli.audio.live import (
    BLOCK_SAMPLES,
    LeapingClock,
    PcmSource,
    PlayedSource,
    SystemClock,
    split_blocks,
)
from whisper_npu_cli.audio.sources import SamplesSource
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError


def noise(n_samples: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-1, 1, n_samples).astype(np.float32)


def read_pcm(open_stream: Callable[[], IO[bytes]]) -> list[NDArray[np.float32]]:
    source = PcmSource("pcm", lambda: nullcontext(open_stream()))
    return [block for block in source.blocks() if block.size]


def test_a_block_is_played_once_its_last_sample_was_spoken() -> None:
    clock, samples = LeapingClock(), noise(5 * BLOCK_SAMPLES + 7)
    heard = 0
    for block in PlayedSource(SamplesSource(samples), clock).blocks():
        heard += block.size
        assert clock.now() == pytest.approx(heard / SAMPLE_RATE)
    assert heard == samples.size


def test_a_late_listener_is_given_what_was_spoken_at_once_and_then_waits() -> None:
    clock = LeapingClock()
    blocks = PlayedSource(SamplesSource(noise(10 * BLOCK_SAMPLES)), clock).blocks()
    assert not next(blocks).size  # it waits for the first
    assert next(blocks).size
    clock.sleep(0.55)  # the listener is busy
    sizes = [next(blocks).size for _ in range(6)]
    assert [size > 0 for size in sizes] == [True] * 5 + [False]


def test_a_played_recording_ends_when_it_is_told_to() -> None:
    source = PlayedSource(SamplesSource(noise(SAMPLE_RATE)), LeapingClock())
    blocks = source.blocks()
    next(blocks)
    next(blocks)
    assert source.end()
    assert not source.end()
    assert list(blocks) == []


def test_the_time_of_this_machine_passes() -> None:
    clock = SystemClock()
    before = clock.now()
    clock.sleep(0.001)
    assert clock.now() >= before + 0.001


@given(st.lists(st.integers(0, 5000), max_size=5))
def test_blocks_are_split_without_a_loss(sizes: list[int]) -> None:
    blocks = [noise(size) for size in sizes]
    split = list(split_blocks(iter(blocks)))
    assert all(block.size <= BLOCK_SAMPLES for block in split)
    assert np.array_equal(np.concatenate([*split, noise(0)]), np.concatenate([*blocks, noise(0)]))
    assert sum(not block.size for block in split) == sizes.count(0)


@given(st.integers(1, 5 * BLOCK_SAMPLES), st.integers(0, 1))
def test_pcm_is_all_samples_of_the_stream(n_samples: int, n_odd_bytes: int) -> None:
    pcm = np.random.default_rng(0).integers(-32768, 32768, n_samples).astype("<i2")
    blocks = read_pcm(lambda: io.BytesIO(pcm.tobytes() + b"\0" * n_odd_bytes))
    assert np.array_equal(np.concatenate(blocks), pcm.astype(np.float32) / 32768)


def test_pcm_without_a_sample_is_an_error_that_names_it() -> None:
    with pytest.raises(AudioError, match="pcm: has no samples"):
        read_pcm(lambda: io.BytesIO(b"\0"))


def test_pcm_that_cannot_be_opened_is_an_error_that_names_it() -> None:
    def fail() -> IO[bytes]:
        raise AudioError("the microphone is gone")

    with pytest.raises(AudioError, match="pcm: the microphone is gone"):
        read_pcm(fail)


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as writer:
        yield stream, writer


def test_an_open_pipe_ends_with_what_has_arrived(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    stream, writer = pipe
    source = PcmSource("pcm", lambda: nullcontext(stream))
    blocks = source.blocks()
    assert not next(blocks).size
    writer.write(bytes(2 * BLOCK_SAMPLES + 10))
    assert next(blocks).size == BLOCK_SAMPLES
    assert source.end()
    assert sum(block.size for block in blocks) == 5
