"""Recordings that are not as they should be, and what is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from tests.support.places import SHARED
from tools.recordings.case import Case
from tools.recordings.encode import (
    Coding,
    Samples,
    make_pause,
    read_speech,
    write,
    write_sndfile,
    write_tracks,
)
from tools.recordings.sound import write_coding
from whisper_npu_cli.dims import SAMPLE_RATE

_JFK, _WIZARD = "jfk.wav", "librispeech_61-70968-0000.wav"
Make = Callable[[Path], Path]

# Each is written with two codings, one after the other: A, B, A
_JOINS: dict[str, tuple[str, Coding, Coding]] = {
    "mp3: rate and channels": ("mp3", Coding("libmp3lame"), Coding("libmp3lame", 44_100, 2)),
    "mp3: the same": ("mp3", Coding("libmp3lame"), Coding("libmp3lame")),
    "aac: rate and channels": ("aac", Coding("aac", 44_100), Coding("aac", 48_000, 2)),
    "aac: the same": ("aac", Coding("aac", 44_100), Coding("aac", 44_100)),
    "ts: rate and channels": ("ts", Coding("aac", 44_100), Coding("aac", 48_000, 2)),
    "ts: codec": ("ts", Coding("mp2", 32_000), Coding("aac", 48_000, 2)),
    "ts: the same": ("ts", Coding("aac", 44_100), Coding("aac", 44_100)),
    "ts: ac3 from stereo to 5.1": (
        "ts",
        Coding("ac3", 48_000, 2),
        Coding("ac3", 48_000, 6, bit_rate=448_000),
    ),
    "ac3: from stereo to 5.1": (
        "ac3",
        Coding("ac3", 48_000, 2),
        Coding("ac3", 48_000, 6, bit_rate=448_000),
    ),
    "mpeg program stream: channels": (
        "mpg",
        Coding("mp2", 48_000, format="mpeg"),
        Coding("mp2", 48_000, 2, format="mpeg"),
    ),
    "opus: channels": ("opus", Coding("libopus", 48_000), Coding("libopus", 48_000, 2)),
    "ogg: flac, rate and channels": ("ogg", Coding("flac", 16_000), Coding("flac", 44_100, 2)),
    "ogg: from opus to flac": ("ogg", Coding("libopus", 48_000), Coding("flac", 44_100, 2)),
    "amr: the same": (
        "amr",
        Coding("libopencore_amrnb", 8000, bit_rate=12_200),
        Coding("libopencore_amrnb", 8000, bit_rate=12_200),
    ),
}

_DAMAGED = (
    *("flac by FFmpeg", "mp3, 16 kHz (MPEG-2)", "mp3 without a Xing header", "mp2"),
    *("aac (ADTS), 16 kHz", "m4a, aac", "m4a, index first", "mp4, fragments", "3gp, amr", "amr"),
    *("opus", "ogg, flac", "webm, opus", "webm as recorded live", "mkv, aac", "mkv, flac"),
    *("ts, aac", "ts, mp2", "mpeg program stream, mp2", "wma", "flv, aac", "avi, mp3", "ac3"),
)
# Whose last frame or page, where it is cut, may have been followed by any number of others
_WITHOUT_LENGTH = (
    *("mp3 without a Xing header", "mp2", "aac (ADTS), 16 kHz", "amr", "ac3", "opus", "ogg, flac"),
    *("ogg", "webm as recorded live", "ts, aac", "ts, mp2"),
)
_ESTIMATED = ("mp4, fragments", "wma", "avi, mp3", "mpeg program stream, mp2")  # the length
_GAPS = {
    "mkv, opus": ("mkv", Coding("libopus", 48_000)),
    "webm, opus": ("webm", Coding("libopus", 48_000)),
    "mp4, aac": ("mp4", Coding("aac", 48_000)),
    "ts, aac": ("ts", Coding("aac", 48_000)),
    "flv, aac": ("flv", Coding("aac", 44_100)),
}
_MIDDLE_LOSS_S = 3.0  # what 300 bad bytes may cost: a page of ogg is 1 s, a cluster of mkv more
# Where streams have no time stamps, nobody knows how much is missing between two pieces of sound,
# as the 1.2 s of 2000 bytes of amr, and the padding of each part's coder is heard
_UNTIMED_S = 1.5


def list_changes() -> Iterator[Case]:
    """Yield streams that change midway."""
    order = (_JFK, _WIZARD, _JFK)
    for name, (suffix, first, second) in _JOINS.items():
        codings = (first, second, first)
        parts = [(suffix, read_speech(clip), c) for clip, c in zip(order, codings, strict=True)]
        # the padding of each part's coder is heard where containers do not tell it
        yield Case(name, partial(_join, parts=parts), read_speech(*order), max_late_s=_UNTIMED_S)
    yield Case("ogg: vorbis, rate and channels", _join_vorbis, read_speech(*order))


def _join(path: Path, parts: list[tuple[str, Samples, Coding]]) -> Path:
    made = [write(path.with_suffix(f".{suffix}"), x, c).read_bytes() for suffix, x, c in parts]
    return _put(path.with_suffix(f".{parts[0][0]}"), b"".join(made))


def _join_vorbis(path: Path) -> Path:
    clips = (_JFK, 16_000, 1), (_WIZARD, 44_100, 2), (_JFK, 16_000, 1)
    parts = [
        write_sndfile(
            path, np.repeat(read_speech(name)[:, None], n, axis=1), rate, format="OGG"
        ).read_bytes()
        for name, rate, n in clips
    ]
    return _put(path.with_suffix(".ogg"), b"".join(parts))


def list_damage() -> Iterator[Case]:
    """Yield recordings of which some bytes are wrong or missing."""
    makes: dict[str, Make] = {name: partial(write_coding, name=name) for name in _DAMAGED}
    for kind in ("WAV", "AIFF", "OGG"):
        makes[kind.lower()] = partial(write_sndfile, samples=read_speech(), format=kind)
    for name, make in makes.items():
        for how, (edit, status) in _EDITS.items():
            # the index is at the end, and found through the length of the sound before it
            is_lost = how in (_CUT, _GONE) and name in ("m4a, aac", "3gp, amr")
            yield Case(
                f"{name}: {how}",
                partial(_edit, make=make, edit=edit),
                None if is_lost else read_speech(),
                1 if how == _LAST and name in _WITHOUT_LENGTH else status,
                tells="its index is missing" if is_lost else "",
                most_lost_s=np.inf if how == _CUT else _MIDDLE_LOSS_S,
                max_late_s=_UNTIMED_S,
                is_open=how == _CUT and name in (*_WITHOUT_LENGTH, *_ESTIMATED),
            )


_CUT, _GONE, _LAST = "cut at 60 %", "2000 bytes gone", "last byte missing"
_EDITS: dict[str, tuple[Callable[[bytes], bytes], int | None]] = {
    "300 random bytes": (
        lambda data: _overwrite(data, np.random.default_rng(0).bytes(300)),
        None,
    ),
    "300 zeros": (lambda data: _overwrite(data, bytes(300)), None),
    _GONE: (lambda data: data[: len(data) // 2] + data[len(data) // 2 + 2000 :], None),
    _CUT: (lambda data: data[: int(len(data) * 0.6)], 1),
    _LAST: (lambda data: data[:-1], 0),
}


def _overwrite(data: bytes, piece: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + piece + data[middle + len(piece) :]


def _edit(path: Path, make: Make, edit: Callable[[bytes], bytes]) -> Path:
    made = make(path)
    return _put(made, edit(made.read_bytes()))


def _put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def list_lies() -> Iterator[Case]:
    """Yield recordings whose names or headers are wrong."""
    speech = read_speech()
    mp3 = partial(write_coding, name="mp3, 16 kHz (MPEG-2)")
    aac = partial(write_coding, name="aac (ADTS), 16 kHz")
    wav: Make = partial(write_sndfile, samples=speech, format="WAV")
    in_wav = partial(_write, suffix="wav", x=speech, c=Coding("libmp3lame", 44_100))
    yield Case("mp3 in wav", in_wav, speech)
    yield Case("aac called .mp3", lambda path: aac(path).rename(path.with_suffix(".mp3")), speech)
    yield Case("mp3 called .wav", lambda path: mp3(path).rename(path.with_suffix(".wav")), speech)
    for size in (0, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF):
        for at, what in ((40, "data"), (4, "RIFF")):
            name = f"wav, length of {what} {size:#x}"
            yield Case(name, partial(_edit, make=wav, edit=_make_lie(at, size)), speech)
    one = 2 * speech.size + 1
    yield Case(
        "wav, length of data one too big", partial(_edit, make=wav, edit=_make_lie(40, one)), speech
    )
    tags = {"right": (3000, 3000), "too long": (4000, 200), "far too long": (9_000_000, 200)}
    for kind, sizes in (tags | {"too short": (20, 3000)}).items():
        for suffix, make in (("mp3", mp3), ("aac", aac)):
            edit = partial(_put_tag, sizes=sizes)
            yield Case(f"{suffix}, ID3 {kind}", partial(_edit, make=make, edit=edit), speech)


def _make_lie(at: int, size: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + size.to_bytes(4, "little") + data[at + 4 :]


def _put_tag(data: bytes, sizes: tuple[int, int]) -> bytes:
    stated, actual = sizes
    length = bytes(stated >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + length + bytes(actual) + data


def list_clocks() -> Iterator[Case]:
    """Yield recordings whose time stamps begin late or jump."""
    speech, jfk, wizard = read_speech(_JFK, _WIZARD), read_speech(_JFK), read_speech(_WIZARD)
    for name, (suffix, coding) in _GAPS.items():
        with_gap = np.concatenate([jfk, make_pause(20), wizard])
        gap = replace(coding, gap=(11.0, 20.0))
        yield Case(
            f"{name}: 20 s of nothing", partial(_write, suffix=suffix, x=speech, c=gap), with_gap
        )
        # players take the first time stamp of these for the beginning
        pause_s = 0.0 if suffix in ("ts", "flv") else 5.0
        late = replace(coding, start_s=5.0)
        right = np.concatenate([make_pause(pause_s), speech])
        yield Case(
            f"{name}: begins at 5 s", partial(_write, suffix=suffix, x=speech, c=late), right
        )
    piece = Coding("aac", 48_000, start_s=36_000.0)
    yield Case(
        "mkv: begins at 10 h, a piece of a broadcast",
        partial(_write, suffix="mkv", x=speech, c=piece),
        speech,
    )


def _write(path: Path, suffix: str, x: Samples, c: Coding) -> Path:
    return write(path.with_suffix(f".{suffix}"), x, c)


def list_channels() -> Iterator[Case]:
    """Yield recordings whose channels are odd."""
    speech = read_speech()
    silent = np.zeros_like(speech)
    other = np.roll(speech, SAMPLE_RATE)
    for suffix, coding in (("wav", None), ("mp3", Coding("libmp3lame", 44_100, 2))):
        for name, pair, tells in (
            ("the second inverted", (speech, -speech), "inverted"),
            ("the first inverted", (-speech, speech), "inverted"),
            ("the second silent", (speech, silent), ""),
            ("the first silent", (silent, speech), ""),
        ):
            make = partial(_write_channels, suffix=suffix, x=np.stack(pair, axis=1), coding=coding)
            yield Case(f"{suffix}: {name}", make, speech, tells=tells)
    two = np.stack([speech, other], axis=1)
    yield Case(
        "wav: two that differ", partial(_write_channels, suffix="wav", x=two), two.mean(axis=1)
    )
    eight = np.stack([speech, *[silent] * 6, -speech], axis=1)
    yield Case(
        "wav: eight, six silent, one inverted",
        partial(_write_channels, suffix="wav", x=eight),
        speech,
        tells="channel 8 is inverted",
    )
    yield Case(
        "m4a: eight",
        partial(
            _write_channels,
            suffix="m4a",
            x=np.repeat(speech[:, None], 8, axis=1),
            coding=Coding("aac", 48_000, 8, bit_rate=256_000),
        ),
        speech,
    )


def _write_channels(path: Path, suffix: str, x: Samples, coding: Coding | None = None) -> Path:
    path = path.with_suffix(f".{suffix}")
    return write(path, x, coding) if coding else write_sndfile(path, x, format="WAV")


def list_tracks() -> Iterator[Case]:
    """Yield recordings with several audio tracks."""
    jfk, wizard = read_speech(_JFK), read_speech(_WIZARD)
    tracks = {"eng": jfk, "deu": wizard}
    silent_first = {"eng": np.zeros_like(jfk), "deu": wizard}
    for suffix in ("mkv", "mp4"):
        coding = Coding("aac", 48_000)
        for name, sounds, default, right, track in (
            ("none marked", tracks, -1, jfk, None),
            ("the second is the default", tracks, 1, wizard, None),
            ("the first is silent", silent_first, -1, wizard, None),
            ("--track 2", tracks, 0, wizard, 2),
            ("--track de", tracks, 0, wizard, "de"),
            ("--track 3", tracks, 0, None, 3),
            ("--track fr", tracks, 0, None, "fr"),
        ):
            made = partial(_write_tracks, suffix=suffix, tracks=sounds, coding=coding, d=default)
            tells = "track 2 (deu)" if right is None or track is None else ""
            status = int(right is None)
            yield Case(f"{suffix}: {name}", made, right, status, tells, track=track)


def _write_tracks(
    path: Path, suffix: str, tracks: dict[str, Samples], coding: Coding, d: int
) -> Path:
    return write_tracks(path.with_suffix(f".{suffix}"), tracks, coding, d)


def list_kept() -> Iterator[Case]:
    """Yield the recordings of shared/audio/odd, whose right values its README tells."""
    jfk, both = read_speech(_JFK), read_speech(_JFK, _WIZARD)
    three = read_speech(_JFK, _WIZARD, "librispeech_1089-134686-0009.wav")
    tone = 0.67 * np.sin(2 * np.pi * 300 / SAMPLE_RATE * np.arange(0.679 * SAMPLE_RATE))
    kept: dict[str, tuple[Samples, int, str]] = {
        "channels_change.mp3": (tone.astype(np.float32), 0, ""),
        "chained.ogg": (both, 0, ""),
        "cut.ogg": (three, 1, "ends within a page"),
        "junk_at_end.mp3": (jfk, 0, ""),
        "header_one_too_big.wav": (jfk, 0, "352000 of 352001 bytes"),
        "mp3_in_wav.wav": (jfk, 0, ""),
        "starts_at_4.9s.mkv": (np.concatenate([make_pause(4.9), jfk]), 0, ""),
    }
    for name, (right, status, tells) in kept.items():
        yield Case(name, partial(_locate, name=name), right, status, tells)


def _locate(_: Path, name: str) -> Path:
    return SHARED / "audio" / "odd" / name
