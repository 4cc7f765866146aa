from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from tests.support.bad_audio import encode_samples
from tests.support.digits import compose_clips
from tests.support.inputs import read_samples
from whisper_npu_cli.audio.mixing import Mixer
from whisper_npu_cli.audio.recording import Frames
from whisper_npu_cli.audio.sources import open_source
from whisper_npu_cli.dims import SAMPLE_RATE

RATE = 48_000
BLOCK = 65_536
Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def speech() -> Samples:
    """Two speakers, each alone, 7 s, (n, 2) at RATE, over hiss."""
    clips = [clip.samples for clip in compose_clips(8) if len(clip.samples) >= 7 * SAMPLE_RATE]
    both = np.stack([clip[: 7 * SAMPLE_RATE] for clip in clips[:2]], axis=1)
    samples = soxr.resample(both, SAMPLE_RATE, RATE)
    return stack(*(channel + noise(channel, -40, seed) for seed, channel in enumerate(samples.T)))


def mix(
    parts: Iterable[Samples], rate: int = RATE, block: int = BLOCK
) -> tuple[Samples, list[str]]:
    """Return the mix of parts (n, n_channels) that follow each other, and the notices."""
    mixer = Mixer()
    blocks = [
        mixer.mix(Frames(rate, part[start : start + block]))
        for part in parts
        for start in range(0, len(part), block)
    ]
    return np.concatenate(blocks), [notice.text for notice in mixer.finish()]


def stack(*channels: Samples) -> Samples:
    return np.stack(channels, axis=1)


def level_db(samples: Samples, reference: Samples) -> float:
    return float(10 * np.log10((samples**2).mean() / (reference**2).mean()))


def noise(like: Samples, level: float, seed: int = 0) -> Samples:
    """Return noise (n,) with the level in dB relative to `like`."""
    made = np.random.default_rng(seed).standard_normal(len(like)) * like.std()
    return (made * 10 ** (level / 20)).astype(np.float32)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 8])
def test_where_nothing_is_odd_it_is_the_mean_to_the_bit(n_channels: int) -> None:
    samples = np.random.default_rng(0).standard_normal((200_000, n_channels)).astype(np.float32)
    expected = samples[:, 0].copy()
    for channel in samples.T[1:]:
        expected += channel
    mixed, notices = mix([samples])
    assert mixed.tobytes() == (expected / np.float32(n_channels)).tobytes()
    assert not notices


def test_speakers_on_their_own_channels_are_averaged(speech: Samples) -> None:
    mixed, notices = mix([speech])
    np.testing.assert_array_equal(mixed, (speech[:, 0] + speech[:, 1]) / 2)
    assert not notices


def test_what_is_alike_is_averaged(speech: Samples) -> None:
    mixed, notices = mix([stack(speech[:, 0], speech[:, 0] / 2)])
    np.testing.assert_array_equal(mixed, speech[:, 0] * np.float32(0.75))
    assert not notices


def test_an_inverted_channel_is_turned_and_said(speech: Samples) -> None:
    mono = speech[:, 0]
    mixed, notices = mix([stack(mono, -mono)])
    np.testing.assert_array_equal(mixed, mono)
    assert notices == ["channel 2 is inverted: it would cancel channel 1 (correlation -1.00)"]


def test_an_inverted_channel_is_turned_where_each_has_noise(speech: Samples) -> None:
    mono = speech[:, 0]
    mixed, notices = mix([stack(mono + noise(mono, -6, 1), -mono + noise(mono, -6, 2))])
    # noise 9 dB below the speech remains of two of 6 dB: 0.5 dB on it
    assert level_db(mixed, mono) == pytest.approx(0.5, abs=0.1)
    assert len(notices) == 1


def test_speakers_whose_crosstalk_is_inverted_are_both_kept(speech: Samples) -> None:
    """Each is heard on the channel of the other too, 6 dB softer."""
    one, other = speech.T
    mixed, notices = mix([stack(one + other / 2, -other - one / 2)])
    # sums of the same in another order: fp32's last places
    np.testing.assert_allclose(mixed, (one + other) * 0.75, atol=1e-6)
    assert len(notices) == 1


@pytest.mark.parametrize(("codec", "suffix"), [("libmp3lame", "mp3"), ("aac", "m4a")])
def test_an_inverted_channel_is_turned_after_lossy_coding(
    tmp_path: Path, speech: Samples, codec: str, suffix: str
) -> None:
    """As the command reads it: the notice is the source's."""
    mono = speech[:, 0]
    path = tmp_path / f"inverted.{suffix}"
    source = open_source(encode_samples(path, stack(mono, -mono), RATE, codec))
    for _ in range(2):
        mixed = np.concatenate(list(source.blocks()))
        # what FFmpeg's coders leave out of it at their own bit rate
        assert level_db(mixed, mono) == pytest.approx(0, abs=1)
        (notice,) = source.notices
        assert notice.startswith("channel 2 is inverted: it would cancel channel 1 (correlation -")


def test_inversion_counts_from_where_there_is_sound(speech: Samples) -> None:
    mono = np.concatenate([np.zeros(5 * RATE, np.float32), speech[:, 0]])
    mixed, notices = mix([stack(mono, -mono)])
    np.testing.assert_array_equal(mixed, mono)
    assert len(notices) == 1


def test_inversion_in_the_middle_costs_at_most_its_block(speech: Samples) -> None:
    mono = speech[:, 0]
    parts = [stack(mono, mono), stack(mono, -mono), stack(mono, mono)]
    mixed, notices = mix([np.concatenate(parts)])
    borders = len(mono), 2 * len(mono)
    odd = np.flatnonzero(mixed != np.tile(mono, 3))
    assert all(min(abs(place - border) for border in borders) < BLOCK for place in odd)
    assert len(notices) == 1


def test_a_short_block_decides_nothing(speech: Samples) -> None:
    """The last block of two speakers may look inverted."""
    one = speech[:, 0]
    end = np.sin(np.arange(200) * 0.1).astype(np.float32) * one.std()
    samples = np.concatenate([speech[:BLOCK], stack(end, -end)])
    mixed, notices = mix([samples])
    np.testing.assert_array_equal(mixed, (samples[:, 0] + samples[:, 1]) / 2)
    assert not notices


@pytest.mark.parametrize("level", [-np.inf, -65.0])
def test_silent_channels_cost_no_level(speech: Samples, level: float) -> None:
    mono = speech[:, 0]
    hisses = [noise(mono, level, seed) + np.float32(0.05) for seed in range(5)]
    mixed, notices = mix([stack(hisses[0], hisses[1], mono, *hisses[2:])])
    # the first block has only hiss, which is then all there is
    np.testing.assert_array_equal(mixed[BLOCK:], mono[BLOCK:])
    assert not notices


def test_who_speaks_late_is_heard(speech: Samples) -> None:
    """The channel is silent for a minute, then has speech 30 dB softer than the other's."""
    one = np.tile(speech[:, 0], 9)
    other = np.zeros_like(one)
    other[-RATE:] = speech[3 * RATE : 4 * RATE, 1] / 30
    mixed, _ = mix([stack(one, other)])
    np.testing.assert_array_equal(mixed[-RATE:], (one[-RATE:] + other[-RATE:]) / 2)
    np.testing.assert_array_equal(mixed[: 50 * RATE], one[: 50 * RATE])


@pytest.mark.parametrize("signs", [(1, -1, 1, -1, -1, 1, 1, -1), (1, 1, 1, 1, 1, 1, 1, -1)])
def test_eight_channels(speech: Samples, signs: Sequence[int]) -> None:
    mono = speech[:, 0]
    samples = stack(*(np.float32(sign) * mono for sign in signs))
    mixed, notices = mix([samples])
    np.testing.assert_allclose(mixed, mono, atol=1e-6)  # fp32's last places
    inverted = [index + 1 for index, sign in enumerate(signs) if sign < 0]
    assert [int(notice.split()[1]) for notice in notices] == inverted
    if len(inverted) == 1:
        assert "it would cancel channels 1, 2, 3, 4, 5, 6, 7 (" in notices[0]


def test_three_channels_of_which_no_two_cancel(speech: Samples) -> None:
    """The third is minus the sum of the others: all together are nothing."""
    one, other = speech.T
    mixed, notices = mix([stack(one, other, -(one + other))])
    np.testing.assert_allclose(mixed, (one + other) * 2 / 3, atol=1e-6)  # fp32's last places
    assert notices == ["channel 3 is inverted: it would cancel channels 1, 2 (correlation -1.00)"]


@pytest.mark.parametrize("delay_ms", [0.25, 0.5, 1, 2, 3, 5, 8])
def test_a_copy_that_comes_later_never_costs_more_than_6_db(
    speech: Samples, delay_ms: float
) -> None:
    mono = speech[:, 0]
    mixed, _ = mix([stack(mono, np.roll(mono, round(delay_ms * RATE / 1000)))])
    assert level_db(mixed, mono) > -6


def test_a_tone_that_comes_half_a_period_later_is_kept() -> None:
    tone = np.sin(np.arange(2 * RATE) * 2 * np.pi * 200 / RATE).astype(np.float32)
    mixed, notices = mix([stack(tone, np.roll(tone, RATE // 400))])
    assert level_db(mixed, tone) == pytest.approx(0, abs=0.01)  # all of it
    assert len(notices) == 1


def test_channels_change_in_the_middle(speech: Samples) -> None:
    """What is known of channels is not of those that follow; a channel is said once."""
    one, other = speech.T
    parts = [
        stack(one, -one),
        one[:, None],
        stack(one, one, other),
        stack(one, -one),
        speech[:, ::-1],
    ]
    mixed, notices = mix(parts)
    # nothing tells the sign of the last, whose channels are not alike: it stays
    expected = [one, one, (one + one + other) / 3, one, (other - one) / 2]
    np.testing.assert_allclose(mixed, np.concatenate(expected), atol=1e-6)  # fp32's last places
    assert notices == ["channel 2 is inverted: it would cancel channel 1 (correlation -1.00)"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -3e38])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_samples_that_are_not_sound_reach_the_check(value: float, channel: int) -> None:
    samples = np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float32)
    samples[7, channel] = value
    mixed, _ = mix([samples])
    assert not np.abs(mixed[7]) < 1e12


def test_real_recordings_are_averaged(shared_audio: Path) -> None:
    """Two speakers, and eight channels of different sound."""
    samples, rate = soundfile.read(shared_audio / "stereo_two_speakers.wav", dtype="float32")
    expected = (samples[:, 0] + samples[:, 1]) / 2
    assert rate == SAMPLE_RATE
    np.testing.assert_array_equal(read_samples(shared_audio / "stereo_two_speakers.wav"), expected)
    source = open_source(shared_audio / "8_channel.m4a")
    assert sum(map(len, source.blocks()))
    assert not source.notices
