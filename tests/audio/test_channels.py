from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from tests.support.bad_audio import tone
from tests.support.digits import compose_clips
from tests.support.inputs import FORMS, read_samples
from whisper_npu_cli.audio.sources import Audio, open_source, split_channels
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError


@pytest.fixture(scope="module")
def speakers() -> NDArray[np.float32]:
    """Two speakers who say different digits, (n, 2) at SAMPLE_RATE."""
    one, other = (clip.samples[: 4 * SAMPLE_RATE] for clip in compose_clips(2))
    n_samples = min(len(one), len(other))
    return np.stack([one[:n_samples], other[:n_samples]], axis=1)


def write(
    folder: Path, samples: NDArray[np.float32], rate: int = SAMPLE_RATE, suffix: str = "wav"
) -> Path:
    path = folder / f"talk.{suffix}"
    kinds = {"wav": {"subtype": "FLOAT"}, "mp3": {"compression_level": 0.9}}  # about 50 kbit/s
    soundfile.write(path, samples, rate, **kinds[suffix])
    return path


def split(audio: Audio) -> list[NDArray[np.float32]]:
    return [read_samples(channel) for channel in split_channels(open_source(audio))]


@pytest.mark.parametrize("form", FORMS)
def test_each_channel_is_read_alone_from_any_form(
    tmp_path: Path, speakers: NDArray[np.float32], form: str
) -> None:
    path = write(tmp_path, speakers)
    for audio in (path, FORMS[form](path.read_bytes())):
        np.testing.assert_array_equal(np.stack(split(audio), axis=1), speakers)


def test_a_channel_is_resampled_like_a_mono_file(
    tmp_path: Path, speakers: NDArray[np.float32]
) -> None:
    samples = soxr.resample(speakers, SAMPLE_RATE, 44_100)
    right = split(write(tmp_path, samples, 44_100))[1]
    np.testing.assert_array_equal(right, read_samples(write(tmp_path, samples[:, 1], 44_100)))


def test_channels_can_be_read_in_turn(tmp_path: Path, speakers: NDArray[np.float32]) -> None:
    """Both read one stream, a block of each after the other."""
    data = write(tmp_path, np.tile(speakers, (9, 1))).read_bytes()
    channels = split_channels(open_source(data))
    pairs = list(zip(*(channel.blocks() for channel in channels), strict=True))
    assert len(pairs) > 1
    both = [np.stack(pair, axis=1) for pair in pairs]
    np.testing.assert_array_equal(np.concatenate(both), np.tile(speakers, (9, 1)))


def test_what_does_not_have_two_channels_is_refused(tmp_path: Path) -> None:
    for n_channels, number in ((1, "one channel"), (3, "3 channels")):
        with pytest.raises(AudioError, match=rf"talk\.wav: {number}, where --speakers") as caught:
            split(write(tmp_path, tone(n_channels=n_channels)))
        assert caught.value.hint
    with pytest.raises(AudioError, match="samples: one channel"):
        split(tone()[:, 0])


def noise(samples: NDArray[np.float32], level_db: float) -> NDArray[np.float32]:
    """Return noise of a level relative to that of samples (n,)."""
    scale = np.sqrt((samples**2).mean()) * 10 ** (level_db / 20)
    made = np.random.default_rng(0).standard_normal(len(samples)) * scale
    return made.astype(np.float32)


ONE_SIGNAL = {
    "a copy": lambda mono: mono,
    "a softer copy": lambda mono: mono * np.float32(0.1),
    "inverted": lambda mono: -mono,
    "with noise": lambda mono: mono + noise(mono, -20.0),
    "with an offset": lambda mono: mono + np.float32(0.05),
}


@pytest.mark.parametrize("kind", ONE_SIGNAL)
@pytest.mark.parametrize("suffix", ["wav", "mp3"])
def test_one_signal_on_two_channels_is_refused_with_the_figure(
    tmp_path: Path, speakers: NDArray[np.float32], kind: str, suffix: str
) -> None:
    mono = speakers[:, 0]
    path = write(tmp_path, np.stack([mono, ONE_SIGNAL[kind](mono)], axis=1), suffix=suffix)
    for channel in split_channels(open_source(path)):
        with pytest.raises(AudioError, match=r"one signal: correlation -?(0\.9\d|1\.00)") as caught:
            read_samples(channel)
        assert caught.value.hint


def test_speakers_are_told_apart_where_each_is_heard_on_the_others_channel(
    tmp_path: Path, speakers: NDArray[np.float32]
) -> None:
    heard = speakers + np.float32(10 ** (-10 / 20)) * speakers[:, ::-1]  # 10 dB softer
    for samples in (heard, speakers * np.array([1, 0], np.float32), np.zeros_like(speakers)):
        assert len(split(write(tmp_path, samples))) == 2


@pytest.mark.parametrize("name", ["stereo_two_speakers.wav", "jfk.flac"])
def test_real_recordings(shared_audio: Path, name: str) -> None:
    """One has a speaker on each side; the other is a mono recording made stereo."""
    if name == "jfk.flac":
        with pytest.raises(AudioError, match=r"correlation 1\.000"):
            split(shared_audio / name)
    else:
        left, right = split(shared_audio / name)
        assert left.shape == right.shape


def test_real_speakers_survive_joint_stereo(tmp_path: Path, shared_audio: Path) -> None:
    samples, rate = soundfile.read(shared_audio / "stereo_two_speakers.wav", dtype="float32")
    path = tmp_path / "two.mp3"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="stereo")
        stream.bit_rate = 32_000
        planes = np.ascontiguousarray(samples.T)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout="stereo")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    assert len(split(path)) == 2
