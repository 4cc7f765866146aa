from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from tests.support.bad_audio import BAD_INPUTS, DAMAGED_INPUTS, RATE, BadInput, cut, encode, tone
from tests.support.inputs import FORMS, read_samples
from whisper_npu_cli.audio.find import find_audio
from whisper_npu_cli.audio.mel import HostMel, log_mel
from whisper_npu_cli.audio.sources import open_source
from whisper_npu_cli.errors import AudioError

BAD_BYTES = [b for b in BAD_INPUTS if b.name not in ("missing.wav", "locked.wav", "folder")]
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


@pytest.mark.parametrize("name", SECONDS)
def test_recording_has_the_length_of_its_header(shared_audio: Path, name: str) -> None:
    samples = read_samples(shared_audio / name)
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
    expected = log_mel(read_samples(shared_audio / "jfk.wav"), HostMel(80))
    mel = log_mel(read_samples(shared_audio / name), HostMel(80))
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
    samples = read_samples(path)[: len(expected)]  # ADPCM fills its last block
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
    samples = read_samples(encode(tmp_path / f"tone{suffix}", codec, rate))
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
    assert read_samples(path).size / RATE == pytest.approx(
        20.0, abs=0.1
    )  # coder delay: 1105 samples


def test_chained_ogg_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "chained.ogg"
    soundfile.write(path, tone(), RATE)
    path.write_bytes(path.read_bytes() * 2)
    assert read_samples(path).size / RATE == pytest.approx(4.0, abs=0.02)  # 128 samples of overlap


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x8000_0000, 0x7FFF_FFFF, 0x7FFF_F000])
def test_wav_written_into_a_pipe_has_no_length_and_is_read(tmp_path: Path, size: int) -> None:
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(), RATE)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)
    assert read_samples(path).size == 2 * RATE


def test_channels_are_averaged(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (1000, 8)).astype(np.float32)
    path = tmp_path / "eight.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    # the order of summation differs: a few units of fp32's last place
    np.testing.assert_allclose(read_samples(path), samples.mean(axis=1), atol=1e-6)


def test_mp3_cut_behind_its_tag_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "tagged.mp3"
    soundfile.write(path, tone(4.0), RATE)
    tag = b"ID3\x04\0\0\0\0\x27\x08" + bytes(0x27 * 128 + 8)  # 5000 bytes, 7 bits in each byte
    path.write_bytes(tag + path.read_bytes())
    assert read_samples(path).size == 4 * RATE
    source = open_source(cut(path, 0.7))
    assert sum(block.size for block in source.blocks()) < 4 * RATE
    assert [damage.end for damage in source.damage] == [pytest.approx(4.0, abs=0.1)]  # padding


def test_mp3_with_a_latin1_tag_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tagged.mp3"
    soundfile.write(path, tone(), RATE)
    tag = b"TAG" + "Café".encode("latin-1").ljust(125, b"\0")
    path.write_bytes(path.read_bytes() + tag)
    assert read_samples(path).size == 2 * RATE


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SECONDS)
def test_samples_are_the_same_in_every_form(shared_audio: Path, name: str, form: str) -> None:
    path = shared_audio / name
    samples = read_samples(FORMS[form](path.read_bytes()))
    np.testing.assert_array_equal(samples, read_samples(path))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", BAD_BYTES, ids=lambda bad: bad.name)
def test_what_is_wrong_is_the_same_in_every_form(tmp_path: Path, bad: BadInput, form: str) -> None:
    path = bad.make(tmp_path / bad.name)
    with pytest.raises(AudioError) as by_path:
        read_samples(path)
    audio = FORMS[form](path.read_bytes())
    with pytest.raises(AudioError) as caught:
        read_samples(audio)
    name = "bytes" if isinstance(audio, bytes) else "stream"
    assert str(caught.value) == str(by_path.value).replace(str(path), name)
    assert caught.value.hint == by_path.value.hint


@pytest.mark.parametrize("name", DAMAGED_INPUTS)
def test_damage_is_told_and_costs_what_is_damaged(tmp_path: Path, name: str) -> None:
    make, start, end = DAMAGED_INPUTS[name]
    source = open_source(make(tmp_path / name))
    samples = np.concatenate(list(source.blocks()))
    (damage,) = source.damage
    assert damage.is_loss
    # a coder's frames, or a page of ogg, are lost as a whole
    assert damage.start == pytest.approx(start, abs=0.25)
    assert damage.end == (end if end is None else pytest.approx(end, abs=0.15))
    if name == "damaged.flac":  # the rest lies where it did
        assert samples.size == 2 * RATE
        np.testing.assert_allclose(samples[-RATE // 4 :], tone()[-RATE // 4 :, 0], atol=2**-15)
    else:
        assert samples.size / RATE == pytest.approx(damage.start, abs=0.001)


@pytest.mark.parametrize("form", FORMS)
def test_damage_is_the_same_in_every_form(tmp_path: Path, form: str) -> None:
    path = DAMAGED_INPUTS["cut.mp3"][0](tmp_path / "cut.mp3")
    sources = [open_source(audio) for audio in (path, FORMS[form](path.read_bytes()))]
    samples = [np.concatenate(list(source.blocks())) for source in sources for _ in range(2)]
    for other in samples[1:]:
        np.testing.assert_array_equal(other, samples[0])
    assert sources[0].damage == sources[1].damage
    assert len(sources[0].damage) == 1  # though it was read twice


def test_playlist_that_was_sent_opens_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "secret.wav", tone(), RATE)
    monkeypatch.chdir(tmp_path)  # where FFmpeg looks for what a file without a folder names
    with pytest.raises(AudioError, match="bytes: not audio"):
        read_samples(b"ffconcat version 1.0\nfile secret.wav\n")
