from __future__ import annotations

import io
import os
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from tests.support.bad_audio import BAD_INPUTS, RATE, BadInput, cut, encode, tone, unprivileged
from whisper_npu_cli.audio.mel import log_mel
from whisper_npu_cli.audio.sources import AudioSource, find_audio
from whisper_npu_cli.errors import AudioError

SECONDS = {  # of the recordings in shared/audio, from their headers
    "8_channel.m4a": 8.05,
    "beckett.wav": 9.963,
    "fleurs_en_01.wav": 6.54,
    "fleurs_en_02.wav": 7.92,
    "fleurs_en_03.wav": 4.14,
    "fleurs_en_04.wav": 4.92,
    "fleurs_ru_02.wav": 7.44,
    "fleurs_ru_05.wav": 12.06,
    "fleurs_ru_08.wav": 8.4,
    "jfk.flac": 11.0,
    "jfk.mp3": 11.0,
    "jfk.wav": 11.0,
    "jfk_441khz.m4a": 11.0,
    "librispeech_1089-134686-0009.wav": 10.575,
    "librispeech_3570-5694-0000.wav": 12.085,
    "librispeech_61-70968-0000.wav": 4.905,
    "pcm_u8.wav": 1.974,
    "stereo_two_speakers.wav": 5.0,
    "two_languages.mp3": 59.9,
}


def read(path: Path | str) -> NDArray[np.float32]:
    with AudioSource(str(path)) as source:
        return np.concatenate(list(source.blocks()))


@pytest.mark.parametrize("name", SECONDS)
def test_recording_has_the_length_of_its_header(shared_audio: Path, name: str) -> None:
    samples = read(shared_audio / name)
    assert samples.dtype == np.float32
    # AAC comes in frames of 1024 samples and does not say where the last one ends: 23 ms
    slack_s = 1024 / 44_100 if name.endswith("m4a") else 1 / RATE
    assert abs(samples.size / RATE - SECONDS[name]) <= slack_s + 0.0005  # the table's rounding


def test_every_shared_recording_is_in_the_table(shared_audio: Path) -> None:
    found = [Path(source.path) for source in find_audio([str(shared_audio)])]
    # `odd/` has what is read wrongly or refused, and its own right values
    assert [path.name for path in found if path.parent == shared_audio] == sorted(SECONDS)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("jfk.flac", 0.001),  # the same samples, resampled by another program: 3e-5 measured
        ("jfk.mp3", 0.02),  # lossy at 55 kbit/s: 0.008 measured
        ("jfk_441khz.m4a", 0.15),  # lossy, another codec and its low-pass: 0.085 measured
    ],
)
def test_jfk_has_nearly_the_same_mel_in_every_format(
    shared_audio: Path, name: str, tolerance: float
) -> None:
    expected = log_mel(read(shared_audio / "jfk.wav"), 80)
    mel = log_mel(read(shared_audio / name), 80)
    n_frames = min(mel.shape[1], expected.shape[1])
    # within 40 dB of the peak (1 mel unit), where the speech is; coders drop what is below
    speech = expected[:, :n_frames] > expected.max() - 1
    difference = np.abs(mel[:, :n_frames] - expected[:, :n_frames])[speech]
    assert np.quantile(difference, 0.95) < tolerance


@pytest.mark.parametrize(
    ("container", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 1 / 128),  # one step of the sample format
        ("WAV", "PCM_16", 1 / 2**15),
        ("WAV", "PCM_24", 1 / 2**23),
        ("WAV", "PCM_32", 1 / 2**23),  # float32 has 24 bits
        ("WAV", "FLOAT", 0.0),
        ("WAV", "DOUBLE", 0.0),
        ("WAV", "ULAW", 0.02),  # the largest step of the logarithmic codes at 0.3
        ("WAV", "ALAW", 0.02),
        ("WAV", "IMA_ADPCM", 0.2),  # 4 bits a sample, slow to follow the onset
        ("WAV", "MS_ADPCM", 0.1),
        ("WAVEX", "PCM_16", 1 / 2**15),
        ("W64", "PCM_16", 1 / 2**15),
        ("AIFF", "PCM_16", 1 / 2**15),
        ("AU", "PCM_16", 1 / 2**15),
        ("CAF", "PCM_16", 1 / 2**15),
        ("FLAC", "PCM_16", 1 / 2**15),
    ],
)
def test_sample_format(tmp_path: Path, container: str, subtype: str, tolerance: float) -> None:
    path = tmp_path / f"tone.{container.lower()}"
    expected = tone()
    soundfile.write(path, expected, RATE, format=container, subtype=subtype)
    samples = read(path)[: len(expected)]  # ADPCM fills its last block
    np.testing.assert_allclose(samples, expected[:, 0], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [
        (".m4a", "aac", 44_100),
        (".mp4", "aac", 48_000),
        (".aac", "aac", 16_000),
        (".m4a", "alac", 48_000),
        (".webm", "libopus", 48_000),
        (".opus", "libopus", 48_000),
        (".mkv", "aac", 48_000),
        (".mka", "pcm_s16le", 44_100),
        (".amr", "libopencore_amrnb", 8_000),
        (".3gp", "libopencore_amrnb", 8_000),
        (".mp3", "libmp3lame", 44_100),
        (".mp2", "mp2", 48_000),
        (".ac3", "ac3", 48_000),
        (".flv", "aac", 44_100),
        (".ts", "aac", 48_000),
        (".avi", "libmp3lame", 48_000),
    ],
)
def test_format_that_ffmpeg_reads(tmp_path: Path, suffix: str, codec: str, rate: int) -> None:
    samples = read(encode(tmp_path / f"tone{suffix}", codec, rate))
    # coders add up to two frames of padding: at most 1536 samples each (ac3), 64 ms at 48 kHz
    assert samples.size / RATE == pytest.approx(2.0, abs=0.15)
    middle = samples[RATE // 2 : RATE]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.2 / np.sqrt(2), rel=0.1)  # the tone's


def test_variable_rate_mp3_without_xing_header_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "headless.mp3"
    samples = np.concatenate([tone(5.0, 48_000), np.zeros((48_000 * 15, 1), np.float32)])
    with av.open(str(path), "w", options={"write_xing": "0", "id3v2_version": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=48_000, options={"q": "2"})
        stream.layout = "mono"
        stream.codec_context.qscale = True
        frame = av.AudioFrame.from_ndarray(samples.T.copy(), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    assert soundfile.info(path).duration < 19, "libsndfile estimates right; the case is lost"
    assert read(path).size / RATE == pytest.approx(20.0, abs=0.1)  # coder delay: 1105 samples


def test_chained_ogg_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "chained.ogg"
    soundfile.write(path, tone(), RATE)
    path.write_bytes(path.read_bytes() * 2)
    assert read(path).size / RATE == pytest.approx(4.0, abs=0.02)  # 128 samples of overlap


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x8000_0000, 0x7FFF_FFFF, 0x7FFF_F000])
def test_wav_written_into_a_pipe_has_no_length_and_is_read(tmp_path: Path, size: int) -> None:
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(), RATE)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)
    assert read(path).size == 2 * RATE


def test_channels_are_averaged(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (1000, 8)).astype(np.float32)
    path = tmp_path / "eight.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    # the order of summation differs: a few units of fp32's last place
    np.testing.assert_allclose(read(path), samples.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_in_blocks_is_resampling_at_once(tmp_path: Path, rate: int) -> None:
    samples = tone(3.0, rate)
    path = tmp_path / "tone.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    expected = soxr.resample(samples[:, 0], rate, RATE, quality="HQ")
    # the filter is the same; blocks change the rounding of fp32
    np.testing.assert_allclose(read(path), expected, atol=1e-5)


def test_sample_rate_beyond_sense_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slow.wav"
    soundfile.write(path, tone(0.1), 10)
    with pytest.raises(AudioError, match=r"slow\.wav: has a sample rate of 10 Hz"):
        read(path)


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_bad_input_is_named_with_a_remedy(tmp_path: Path, bad: BadInput) -> None:
    path = bad.make(tmp_path / bad.name)
    with unprivileged(bad.unprivileged), pytest.raises(AudioError) as caught:
        (source,) = find_audio([str(path)])
        for _ in source.blocks():
            pass
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert bad.message in message
    assert "\n" not in message
    assert caught.value.hint is not None
    assert bad.hint in caught.value.hint


def test_mp3_cut_behind_its_tag_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "tagged.mp3"
    soundfile.write(path, tone(4.0), RATE)
    tag = b"ID3\x04\0\0\0\0\x27\x08" + bytes(0x27 * 128 + 8)  # 5000 bytes, 7 bits in each byte
    path.write_bytes(tag + path.read_bytes())
    assert read(path).size == 4 * RATE
    with pytest.raises(AudioError, match="truncated"):
        read(cut(path, 0.7))


def test_mp3_with_a_latin1_tag_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tagged.mp3"
    soundfile.write(path, tone(), RATE)
    tag = b"TAG" + "Café".encode("latin-1").ljust(125, b"\0")
    path.write_bytes(path.read_bytes() + tag)
    assert read(path).size == 2 * RATE


def test_directory_is_searched_recursively_in_order(tmp_path: Path) -> None:
    for name in ("b.WAV", "a/z.mp3", "a/y.txt", ".hidden.wav", ".git/x.wav", "c.flac"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = [source.path for source in find_audio([str(tmp_path), "named.txt", "-"])]
    expected = [str(tmp_path / name) for name in ("a/z.mp3", "b.WAV", "c.flac")]
    assert found == [*expected, "named.txt", "-"]


def test_directory_that_cannot_be_listed_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "open.wav").touch()
    (tmp_path / "locked").chmod(0)
    for parent in (tmp_path, *tmp_path.parents[:2]):  # pytest's own folders
        parent.chmod(0o755)
    with unprivileged():
        locked, _ = find_audio([str(tmp_path)])
        with pytest.raises(AudioError, match="locked: cannot be read: Permission denied"):
            next(locked.blocks())


def test_fifo_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(AudioError, match="not a regular file") as caught:
        read(path)
    assert "standard input" in (caught.value.hint or "")


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def feed(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return feed


@pytest.mark.parametrize("name", ["jfk.wav", "jfk.mp3", "jfk_441khz.m4a"])
def test_standard_input_can_be_read_twice(
    shared_audio: Path, stdin: Callable[[bytes], None], name: str
) -> None:
    stdin((shared_audio / name).read_bytes())
    with AudioSource("-") as source:
        first, second = list(source.blocks()), list(source.blocks())
    np.testing.assert_array_equal(np.concatenate(first), read(shared_audio / name))
    np.testing.assert_array_equal(np.concatenate(second), np.concatenate(first))


def test_standard_input_leaves_no_file_behind(
    tmp_path: Path, stdin: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    soundfile.write(buffer := io.BytesIO(), tone(), RATE, format="WAV")
    stdin(buffer.getvalue())
    with AudioSource("-") as source:
        next(source.blocks())
        assert list(tmp_path.iterdir()) == []


def test_empty_standard_input_is_named(stdin: Callable[[bytes], None]) -> None:
    stdin(b"")
    with pytest.raises(AudioError, match=r"^standard input: empty"):
        read("-")


@pytest.mark.parametrize("suffix", [".flac", ".mp3"])  # one for each library
def test_memory_does_not_grow_with_length(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"long{suffix}"
    soundfile.write(path, np.tile(tone(10.0), (12, 1)), RATE)  # 2 minutes: 8 MB of samples
    for _ in AudioSource(str(path)).blocks():  # imports
        break
    tracemalloc.start()
    n_samples = sum(block.size for block in AudioSource(str(path)).blocks())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_samples == 120 * RATE
    assert peak < 2_000_000  # a few blocks of 65,536 samples, 262 kB each
