from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.inputs import read_samples
from tests.support.places import GOLDEN
from whisper_npu_cli.audio.mel import HostMel, MelStream, log_mel, mel_filters, scan
from whisper_npu_cli.dims import HOP_LENGTH, N_FFT, N_FRAMES, N_SAMPLES, SAMPLE_RATE


@pytest.fixture(scope="module")
def speech(shared_audio: Path) -> NDArray[np.float32]:
    return read_samples(shared_audio / "jfk.wav")


def noise(n: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def textbook_log_mel(samples: NDArray[np.float32], n_mels: int) -> NDArray[np.float64]:
    """The definition, in float64: whole audio, 30 s of silence, reflected edges."""
    padded = np.pad(np.append(samples, np.zeros(N_SAMPLES)), N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP_LENGTH][:-1]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    power = mel_filters(n_mels).astype(np.float64) @ (np.abs(np.fft.rfft(frames * hann)) ** 2).T
    log10 = np.log10(np.maximum(power, 1e-10))
    return ((np.maximum(log10, log10.max() - 8) + 4) / 4)[:, :-N_FRAMES]


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filters_are_librosas(n_mels: int) -> None:
    from librosa.filters import mel

    expected = mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=n_mels)
    # librosa rounds to fp32 once more than we do: one unit in the last place of at most 0.03
    np.testing.assert_allclose(mel_filters(n_mels), expected, rtol=3e-7, atol=1e-9)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_mel_is_openai_whispers(speech: NDArray[np.float32], n_mels: int) -> None:
    with np.load(GOLDEN / "mel.npz") as golden:
        frames, expected = golden[f"frames_{n_mels}"], golden[f"mel_{n_mels}"]
    # 1e-4 is the promise; both differ from float64 by 3e-5, in bins 80 dB below their frame
    np.testing.assert_allclose(
        log_mel(speech, HostMel(n_mels))[:, frames], expected, rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("n", [0, 1, 159, 160, 199, 200, 201, 399, 400, 1000, 16_000, 160_001])
def test_any_length_follows_the_definition(n: int) -> None:
    mel = log_mel(noise(n), HostMel(80))
    assert mel.shape == (80, n // HOP_LENGTH)
    assert mel.dtype == np.float32
    if n:
        # noise is loud in every bin, so fp32 loses 1e-6 and not the 3e-5 of speech
        np.testing.assert_allclose(mel, textbook_log_mel(noise(n), 80), rtol=0, atol=1e-5)


def test_silence_is_the_floor() -> None:
    stats = scan([np.zeros(16_000, np.float32)], HostMel(80))
    assert stats.peak == pytest.approx(-10.0)
    assert np.unique(log_mel(np.zeros(16_000, np.float32), HostMel(80))).tolist() == [-1.5]


def test_a_click_at_the_very_end_counts_for_the_peak() -> None:
    samples = noise(16_079)
    samples[-1] = 1.0  # beyond the last content frame's window
    peak = textbook_log_mel(samples, 80).max() * 4 - 4
    assert scan([samples], HostMel(80)).peak >= peak
    np.testing.assert_allclose(
        log_mel(samples, HostMel(80)), textbook_log_mel(samples, 80), atol=1e-5
    )


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 400_000), max_size=12), seed=st.integers(0, 3))
def test_result_is_independent_of_the_blocks(cuts: list[int], seed: int) -> None:
    samples = noise(400_000, seed)
    blocks = np.split(samples, sorted(cuts))
    stats = scan(blocks, HostMel(80))
    assert stats == scan([samples], HostMel(80))
    assert stats.n_samples == 400_000
    window = MelStream(blocks, stats, HostMel(80)).window(0, N_FRAMES)
    np.testing.assert_array_equal(window[:, :2500], log_mel(samples, HostMel(80)))


@settings(max_examples=10, deadline=None)
@given(steps=st.lists(st.integers(0, 4_000), min_size=1, max_size=6))
def test_windows_are_slices_of_the_whole_and_zero_beyond(steps: list[int]) -> None:
    samples = noise(1_300_000)
    whole = log_mel(samples, HostMel(80))
    stream = MelStream([samples], scan([samples], HostMel(80)), HostMel(80))
    assert stream.stats.n_frames == whole.shape[1] == 8125
    for seek in np.cumsum(steps).tolist():
        expected = whole[:, seek : seek + N_FRAMES]
        window = stream.window(seek, seek + N_FRAMES)
        assert window.shape == (80, N_FRAMES)
        np.testing.assert_array_equal(window[:, : expected.shape[1]], expected)
        assert not window[:, expected.shape[1] :].any()


def test_a_window_is_zero_from_its_end_on() -> None:
    samples = noise(480_000)
    stream = MelStream([samples], scan([samples], HostMel(80)), HostMel(80))
    window = stream.window(100, 250)
    np.testing.assert_array_equal(window[:, :150], log_mel(samples, HostMel(80))[:, 100:250])
    assert not window[:, 150:].any()


def test_what_no_window_has_is_not_computed() -> None:
    samples = noise(90 * SAMPLE_RATE)
    stats = scan([samples], HostMel(80))

    class Counting(HostMel):
        n_computed = 0

        def compute_power(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
            power = super().compute_power(samples)
            self.n_computed += power.shape[1]
            return power

    engine = Counting(80)
    window = MelStream([samples], stats, engine).window(8000, 8700)
    assert engine.n_computed == 1000  # the two stretches of 500 frames that have some of it
    whole = log_mel(samples, HostMel(80))
    np.testing.assert_array_equal(window[:, :700], whole[:, 8000:8700])


def test_window_cannot_go_back() -> None:
    samples = noise(32_000)
    stream = MelStream([samples], scan([samples], HostMel(80)), HostMel(80))
    stream.window(100, 200)
    with pytest.raises(ValueError, match="frame 99 after one at 100"):
        stream.window(99, 200)


def test_fewer_samples_than_were_scanned_is_an_error() -> None:
    samples = noise(480_000)
    stream = MelStream([samples[:200_000]], scan([samples], HostMel(80)), HostMel(80))
    with pytest.raises(ValueError, match="samples ended"):
        stream.window(0, N_FRAMES)


def test_window_does_not_share_memory_with_the_next() -> None:
    samples = noise(480_000)
    stream = MelStream([samples], scan([samples], HostMel(80)), HostMel(80))
    first = stream.window(0, N_FRAMES)
    kept = first.copy()
    stream.window(0, N_FRAMES)[:] = 0
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(stream.window(0, N_FRAMES), kept)


def test_memory_does_not_grow_with_length() -> None:
    block = noise(SAMPLE_RATE)

    def long() -> Iterator[NDArray[np.float32]]:
        for _ in range(1200):
            yield block

    mel_filters(80)
    tracemalloc.start()
    stats = scan(long(), HostMel(80))
    stream = MelStream(long(), stats, HostMel(80))
    for seek in range(0, stats.n_frames, N_FRAMES):
        stream.window(seek, seek + N_FRAMES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert stats.duration_s == 1200
    # a chunk of 500 frames takes 2 MB with its spectrum, a window 1 MB; 20 minutes are 77 MB
    assert peak < 8_000_000
