from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.support.bad_audio import RATE, cut, tone
from tools.recordings.encode import Coding, make_pause, write, write_tracks
from whisper_npu_cli.audio import clock
from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.errors import AudioError

TONE = tone()[:, 0]
TWO_S = 2 * RATE
PADDING_S = 0.07  # of a coder, not told: 1105 samples of mp3 at 16 kHz
MP3 = Coding("libmp3lame", options={"id3v2_version": "0"})
MP3_STEREO = Coding("libmp3lame", 44_100, 2)
AAC = Coding("aac", 48_000)


def listen(path: Path, track: int | str | None = None) -> tuple[NDArray[np.float32], FileSource]:
    source = FileSource(path, track)
    return np.concatenate(list(source.blocks())), source


def join(path: Path, *codings: Coding) -> Path:
    """Write the tone in each coding, one after the other."""
    parts = [write(path, TONE, coding).read_bytes() for coding in codings]
    path.write_bytes(b"".join(parts))
    return path


def measure_level(samples: NDArray[np.float32], start_s: float, end_s: float) -> float:
    """Return the level of a stretch, of which that of the tone is 1."""
    part = samples[round(start_s * RATE) : round(end_s * RATE)]
    return float(np.sqrt(np.mean(part**2) / np.mean(TONE**2)))


@pytest.mark.parametrize(
    ("suffix", "first", "second"),
    [
        ("mp3", MP3, MP3_STEREO),
        ("mp2", Coding("mp2", 48_000), Coding("mp2", 24_000, 2)),
        ("aac", Coding("aac", 44_100), Coding("aac", 48_000, 2)),
        ("ts", Coding("aac", 44_100), Coding("aac", 48_000, 2)),
        ("ts", Coding("mp2", 32_000), Coding("aac", 48_000, 2)),
        ("ts", Coding("ac3", 48_000, 2), Coding("ac3", 48_000, 6, bit_rate=448_000)),
        ("opus", Coding("libopus", 48_000), Coding("libopus", 48_000, 2)),
        ("ogg", Coding("flac"), Coding("flac", 44_100, 2)),
        ("ogg", Coding("libopus", 48_000), Coding("flac", 44_100, 2)),
    ],
)
def test_stream_that_changes_is_heard_to_its_end(
    tmp_path: Path, suffix: str, first: Coding, second: Coding
) -> None:
    samples, source = listen(join(tmp_path / f"joined.{suffix}", first, second))
    assert source.damage == ()
    assert samples.size / RATE == pytest.approx(4.0, abs=2 * PADDING_S)
    for start_s in (0.5, 2.5):  # ac3 changes the level where it mixes 5.1
        assert measure_level(samples, start_s, start_s + 1) == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_gap_in_the_clock_is_silence(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"gap.{suffix}", TONE, replace(AAC, gap=(1.0, 20.0)))
    samples, source = listen(path)
    assert source.damage == ()
    assert samples.size / RATE == pytest.approx(22.0, abs=PADDING_S)
    assert measure_level(samples, 1.2, 20.9) < 0.01
    assert measure_level(samples, 21.2, 21.9) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(("suffix", "start_s"), [("mp4", 5.0), ("mkv", 5.0), ("ts", 0.0)])
def test_sound_that_begins_late_lies_where_a_player_has_it(
    tmp_path: Path, suffix: str, start_s: float
) -> None:
    path = write(tmp_path / f"late.{suffix}", TONE, replace(AAC, start_s=5.0))
    samples, _ = listen(path)
    assert samples.size / RATE == pytest.approx(start_s + 2.0, abs=PADDING_S)
    assert np.flatnonzero(np.abs(samples) > 0.1)[0] / RATE == pytest.approx(start_s, abs=PADDING_S)


def test_piece_of_a_broadcast_begins_at_0(tmp_path: Path) -> None:
    path = write(tmp_path / "piece.mkv", TONE, replace(AAC, start_s=36_000.0))
    assert listen(path)[0].size / RATE == pytest.approx(2.0, abs=PADDING_S)


def write_two_tracks(path: Path, default: int = -1, first: NDArray[np.float32] = TONE) -> Path:
    """Write 2 s in English and 1 s in German."""
    return write_tracks(path, {"eng": first, "deu": TONE[:RATE]}, AAC, default)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize(
    ("track", "default", "seconds"),
    [
        *((1, 1, 2), (2, 0, 1), ("en", 1, 2), ("de", 0, 1), ("deu", 0, 1)),
        *((None, -1, 2), (None, 0, 2), (None, 1, 1)),
    ],
)
def test_track_is_the_wanted_one_or_the_default(
    tmp_path: Path, suffix: str, track: int | str | None, default: int, seconds: float
) -> None:
    path = write_two_tracks(tmp_path / f"two.{suffix}", default)
    samples, source = listen(path, track)
    assert samples.size / RATE == pytest.approx(seconds, abs=PADDING_S)
    names = ["track 1 (eng)", "track 2 (deu)"]
    own, other = names if seconds == 2 else names[::-1]
    notice = f"{own} is read; --track reads another: {other}"
    assert source.notices == (() if track else (notice,))


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])  # mp4 marks the first where nobody chose
def test_silent_first_track_is_left_out(tmp_path: Path, suffix: str) -> None:
    path = write_two_tracks(tmp_path / f"two.{suffix}", first=make_pause(2))
    samples, source = listen(path)
    assert measure_level(samples, 0.2, 0.8) == pytest.approx(1, rel=0.1)
    assert source.notices[0].startswith("track 2 (deu) is read")


@pytest.mark.parametrize("track", [3, "fr"])
def test_unknown_track_is_an_error_that_names_those_there(tmp_path: Path, track: int | str) -> None:
    with pytest.raises(AudioError, match=f"has no audio track {track}") as caught:
        listen(write_two_tracks(tmp_path / "two.mkv"), track)
    assert caught.value.hint == "it has track 1 (eng), track 2 (deu)"


@pytest.mark.parametrize("suffix", ["mp3", "aac"])
@pytest.mark.parametrize(
    ("stated", "actual"), [(3000, 3000), (4000, 200), (9_000_000, 200), (20, 3000)]
)
def test_length_of_an_id3_tag_may_be_wrong(
    tmp_path: Path, suffix: str, stated: int, actual: int
) -> None:
    path = write(tmp_path / f"tagged.{suffix}", TONE, MP3 if suffix == "mp3" else AAC)
    expected, _ = listen(path)
    length = bytes(stated >> shift & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\4\0\0" + length + bytes(actual) + path.read_bytes())
    samples, source = listen(path)
    assert source.damage == ()
    # what lies between the tag and the sound hides the length of the coder's padding
    assert 0 <= (samples.size - expected.size) / RATE <= 2 * PADDING_S
    begins_at = [np.flatnonzero(np.abs(x) > 0.1)[0] / RATE for x in (expected, samples)]
    assert 0 <= begins_at[1] - begins_at[0] <= PADDING_S


@pytest.mark.parametrize("riff_too", [False, True])
def test_wav_of_a_recorder_that_crashed_is_read(tmp_path: Path, riff_too: bool) -> None:
    path = tmp_path / "crashed.wav"
    soundfile.write(path, TONE, RATE)
    data = bytearray(path.read_bytes())
    data[40:44] = bytes(4)
    data[4:8] = bytes(4) if riff_too else data[4:8]
    path.write_bytes(data)
    samples, source = listen(path)
    assert source.damage == ()
    np.testing.assert_allclose(samples, TONE, atol=2**-15)


def test_content_counts_and_not_the_name(tmp_path: Path) -> None:
    for path in (
        write(tmp_path / "mp3.wav", TONE, MP3),
        write(tmp_path / "aac.aac", TONE, AAC).rename(tmp_path / "aac.mp3"),
        write(tmp_path / "mp3.mp3", TONE, MP3).rename(tmp_path / "plain.wav"),
    ):
        samples, source = listen(path)
        assert source.damage == ()
        assert samples.size / RATE == pytest.approx(2.0, abs=2 * PADDING_S)


def test_what_follows_a_damaged_fragment_is_told(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}
    path = write(tmp_path / "fragments.mp4", TONE, Coding("aac", options=options))
    data = path.read_bytes()
    assert listen(path)[1].damage == ()
    at = data.index(b"moof", data.index(b"moof") + 4)
    path.write_bytes(data[: at - 4] + bytes(300) + data[at + 296 :])
    samples, source = listen(path)
    assert samples.size < TWO_S / 2
    assert source.damage[-1].end is None
    assert "fragments" in source.damage[-1].reason


@pytest.mark.parametrize(
    ("name", "coding"),
    [
        ("headless.mp3", Coding("libmp3lame", options={"write_xing": "0", "id3v2_version": "0"})),
        ("cut.mp2", Coding("mp2", 48_000)),
        ("cut.aac", AAC),
        ("cut.ac3", Coding("ac3", 48_000, 2)),
        ("cut.amr", Coding("libopencore_amrnb", 8000, bit_rate=12_200)),
        ("live.webm", Coding("libopus", 48_000, options={"live": "1"})),
    ],
)
def test_stream_without_a_length_that_ends_midway_is_told(
    tmp_path: Path, name: str, coding: Coding
) -> None:
    path = write(tmp_path / name, TONE, coding)
    assert listen(path)[1].damage == ()
    _, source = listen(cut(path, 0.6))
    assert [(damage.end, damage.is_loss) for damage in source.damage] == [(None, True)]


@pytest.mark.parametrize(
    ("name", "coding"),
    [("cut.avi", Coding("libmp3lame", 48_000)), ("cut.wav", Coding("g726", 8000))],
)
def test_end_of_what_only_tells_its_bytes_is_estimated(
    tmp_path: Path, name: str, coding: Coding
) -> None:
    path = write(tmp_path / name, TONE, coding)
    assert listen(path)[1].damage == ()
    (damage,) = listen(cut(path, 0.6))[1].damage
    assert damage.is_loss
    assert damage.end == pytest.approx(2.0, abs=0.3)  # avi has a head of 5 kB


def test_tag_behind_an_mp3_without_a_length_is_no_damage(tmp_path: Path) -> None:
    options = {"write_xing": "0", "id3v2_version": "0", "write_id3v1": "1"}
    path = write(tmp_path / "headless.mp3", TONE, Coding("libmp3lame", options=options))
    path.write_bytes(path.read_bytes() + b"TAG" + b"title".ljust(125, b"\0"))
    assert listen(path)[1].damage == ()


def test_damage_in_many_places_that_are_close_is_one(tmp_path: Path) -> None:
    coding = Coding("libopencore_amrnb", 8000, bit_rate=12_200)
    path = write(tmp_path / "damaged.amr", TONE, coding)
    data = path.read_bytes()
    noise = np.random.default_rng(0).bytes(300)
    path.write_bytes(data[:1500] + noise + data[1800:])
    _, source = listen(path)
    assert len(source.damage) == 1


def test_gaps_in_a_damaged_clock_have_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_MAX_GAPS_S", 30.0)
    path = write(tmp_path / "gaps.mkv", TONE, replace(AAC, gap=(1.0, 20.0)))
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        time = clock.Clock(container, stream, 0.0)
        (frame, *_) = container.decode(stream)
        for seconds, expected in ((20, 20.0), (40, 0.0), (45, 5.0)):
            frame.pts = round(seconds / stream.time_base)
            assert time.find_gap(frame, 0.1) == pytest.approx(expected, abs=0.1)


def test_ogg_that_ends_within_the_head_of_a_link_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "chained.opus", TONE, Coding("libopus", 48_000))
    data = path.read_bytes()
    path.write_bytes(data + data[:20])
    samples, source = listen(path)
    assert samples.size / RATE == pytest.approx(2.0, abs=PADDING_S)
    assert [damage.is_loss for damage in source.damage] == [True]


def test_mp3_that_ends_within_its_first_frame_is_no_bug(tmp_path: Path) -> None:
    path = write(tmp_path / "short.mp3", TONE, MP3)
    data = path.read_bytes()
    at = data.index(b"Info")
    for n_bytes in range(at, at + 16):
        path.write_bytes(data[:n_bytes])
        with pytest.raises(AudioError):
            listen(path)


def test_ts_that_ends_within_the_head_of_a_packet_is_cut(tmp_path: Path) -> None:
    codings = Coding("mp2", 32_000), AAC
    data = join(tmp_path / "joined.ts", *codings).read_bytes()
    path = tmp_path / "cut.ts"
    for n_bytes in (1, 2, 3):
        path.write_bytes(data + data[:n_bytes])
        _, source = listen(path)
        assert source.damage[-1].end is None
