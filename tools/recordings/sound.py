"""Recordings without a fault: every container and codec that can be written here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tools.recordings.case import Case
from tools.recordings.encode import Coding, read_speech, remux, write, write_sndfile
from whisper_npu_cli.dims import SAMPLE_RATE

# By container: what libsndfile writes of it
SNDFILE = {
    "wav": "PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW IMA_ADPCM MS_ADPCM GSM610 G721_32",
    "wavex": "PCM_16 PCM_24 FLOAT",
    "rf64": "PCM_16 PCM_24 FLOAT",
    "w64": "PCM_16 FLOAT ULAW",
    "aiff": "PCM_S8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW IMA_ADPCM GSM610",
    "au": "PCM_S8 PCM_16 PCM_24 FLOAT ULAW ALAW",
    "caf": "PCM_16 PCM_24 FLOAT ULAW ALAC_16",
    "flac": "PCM_S8 PCM_16 PCM_24",
    "ogg": "VORBIS OPUS",
    "mp3": "MPEG_LAYER_III",
}
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "1000000"}

# By what is written: the suffix, and how
CODINGS: dict[str, tuple[str, Coding]] = {
    "wav, mu-law by FFmpeg": ("wav", Coding("pcm_mulaw", 8000)),
    "wav, adpcm by FFmpeg": ("wav", Coding("adpcm_ms")),
    "wav, g726": ("wav", Coding("g726", 8000)),
    "wav, g723.1": ("wav", Coding("g723_1", 8000, bit_rate=6300)),
    "rf64 by FFmpeg": ("wav", Coding("pcm_s16le", options={"rf64": "always"})),
    "aiff by FFmpeg": ("aiff", Coding("pcm_s16be", 44_100, 2)),
    "caf by FFmpeg": ("caf", Coding("pcm_s16le", 48_000)),
    "flac by FFmpeg": ("flac", Coding("flac", 44_100, 2)),
    "mp3, 64 kbit/s, 44.1 kHz": ("mp3", Coding("libmp3lame", 44_100, 2)),
    "mp3, 16 kHz (MPEG-2)": ("mp3", Coding("libmp3lame", bit_rate=32_000)),
    "mp3, 8 kHz (MPEG-2.5)": ("mp3", Coding("libmp3lame", 8000, bit_rate=16_000)),
    "mp3 without a Xing header": (
        "mp3",
        Coding("libmp3lame", options={"write_xing": "0", "id3v2_version": "0"}),
    ),
    "mp2": ("mp2", Coding("mp2", 48_000)),
    "aac (ADTS)": ("aac", Coding("aac", 44_100)),
    "aac (ADTS), 16 kHz": ("aac", Coding("aac")),
    "m4a, aac": ("m4a", Coding("aac", 44_100)),
    "m4a, alac": ("m4a", Coding("alac", 44_100)),
    "m4a, index first": ("m4a", Coding("aac", options={"movflags": "faststart"})),
    "mp4, fragments": ("mp4", Coding("aac", options=_FRAGMENTS)),
    "mp4, opus": ("mp4", Coding("libopus", 48_000)),
    "mp4, mp3": ("mp4", Coding("libmp3lame", 44_100)),
    "mp4, flac": ("mp4", Coding("flac", 44_100)),
    "mp4, ac3": ("mp4", Coding("ac3", 48_000, 6, bit_rate=448_000)),
    "mov, pcm": ("mov", Coding("pcm_s16le", 48_000)),
    "mov, adpcm": ("mov", Coding("adpcm_ima_qt", 44_100)),
    "3gp, amr": ("3gp", Coding("libopencore_amrnb", 8000, bit_rate=12_200)),
    "3gp, aac": ("3gp", Coding("aac")),
    "amr": ("amr", Coding("libopencore_amrnb", 8000, bit_rate=12_200)),
    "amr, 4.75 kbit/s": ("amr", Coding("libopencore_amrnb", 8000, bit_rate=4750)),
    "opus": ("opus", Coding("libopus", 48_000)),
    "opus, 16 kHz": ("opus", Coding("libopus", 16_000, bit_rate=24_000)),
    "ogg, flac": ("ogg", Coding("flac", 44_100)),
    "ogg, opus": ("ogg", Coding("libopus", 48_000)),
    "webm, opus": ("webm", Coding("libopus", 48_000)),
    "webm as recorded live": ("webm", Coding("libopus", 48_000, options={"live": "1"})),
    "mkv, aac": ("mkv", Coding("aac", 48_000)),
    "mkv, pcm": ("mkv", Coding("pcm_s16le", 44_100)),
    "mkv, flac": ("mkv", Coding("flac", 48_000)),
    "mkv, mp3": ("mkv", Coding("libmp3lame", 48_000)),
    "mkv, mp2": ("mkv", Coding("mp2", 48_000)),
    "mkv, ac3 5.1": ("mkv", Coding("ac3", 48_000, 6, bit_rate=448_000)),
    "mkv, eac3": ("mkv", Coding("eac3", 48_000, 2)),
    "mkv, alac": ("mkv", Coding("alac", 48_000)),
    "mkv, wavpack": ("mkv", Coding("wavpack", 44_100)),
    "ts, aac": ("ts", Coding("aac", 48_000)),
    "ts, mp2": ("ts", Coding("mp2", 48_000)),
    "ts, mp3": ("ts", Coding("libmp3lame", 44_100)),
    "ts, ac3": ("ts", Coding("ac3", 48_000, 2)),
    "mpeg program stream, mp2": ("mpg", Coding("mp2", 48_000, format="mpeg")),
    "vob, ac3": ("vob", Coding("ac3", 48_000, 2, format="vob")),
    "wma": ("wma", Coding("wmav2", 44_100, 2)),
    "wma, version 1": ("wma", Coding("wmav1", 44_100, 2)),
    "asf, mp3": ("asf", Coding("libmp3lame", 44_100)),
    "flv, aac": ("flv", Coding("aac", 44_100)),
    "flv, mp3": ("flv", Coding("libmp3lame", 44_100)),
    "flv, nellymoser": ("flv", Coding("nellymoser", 22_050)),
    "avi, mp3": ("avi", Coding("libmp3lame", 48_000)),
    "avi, pcm": ("avi", Coding("pcm_s16le", 44_100, 2)),
    "avi, ac3": ("avi", Coding("ac3", 48_000, 2)),
    "ac3": ("ac3", Coding("ac3", 48_000, 2)),
    "eac3": ("eac3", Coding("eac3", 48_000, 2)),
    "wavpack": ("wv", Coding("wavpack", 44_100)),
    "tta": ("tta", Coding("tta", 44_100)),
    "real audio, 14.4": ("rm", Coding("real_144", 8000, bit_rate=8000)),
    "adts within latm": ("latm", Coding("aac", 48_000)),
    "swf, mp3": ("swf", Coding("libmp3lame", 44_100)),
    "voc": ("voc", Coding("pcm_u8", 8000)),
}


def list_sound() -> Iterator[Case]:
    """Yield a case for each container and codec."""
    for container, subtypes in SNDFILE.items():
        for subtype in subtypes.split():
            yield _make_case(
                f"{container}, {subtype.lower()}", format=container.upper(), subtype=subtype
            )
    yield _make_case("wav, big-endian (RIFX)", format="WAV", subtype="PCM_16", endian="BIG")
    yield _make_case("aiff, little-endian", format="AIFF", subtype="PCM_16", endian="LITTLE")
    yield _make_case("wav, 192 kHz", 192_000, format="WAV")
    yield _make_case("wav, 8 kHz", 8000, format="WAV")
    for suffix in ("webm", "mkv"):
        # PyAV's libraries have no encoder for it that is not experimental
        yield Case(f"{suffix}, vorbis", partial(_write_vorbis, suffix=suffix), read_speech())
    for name in CODINGS:
        yield Case(name, partial(write_coding, name=name), read_speech())


def write_coding(path: Path, name: str) -> Path:
    """Write all clips in one of `CODINGS`, with its suffix."""
    suffix, coding = CODINGS[name]
    return write(path.with_suffix(f".{suffix}"), read_speech(), coding)


def _make_case(name: str, rate: int = SAMPLE_RATE, **options: str) -> Case:
    return Case(
        name, lambda path: write_sndfile(path, read_speech(), rate, **options), read_speech()
    )


def _write_vorbis(path: Path, suffix: str) -> Path:
    return remux(write_sndfile(path, read_speech(), format="OGG"), f".{suffix}")
