"""Read a recording with FFmpeg's libraries (PyAV, no program), whatever its container.

A file may hold several containers one after the other: links of a chained ogg, or broadcasts
that are joined, of which FFmpeg's libraries read only what continues the first.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

import av
import numpy as np

from whisper_npu_cli.audio.containers import (
    count_mp3_samples,
    find_mpeg_audio,
    find_ogg_links,
    find_ts_program,
    has_fragment,
    is_cut_mpeg_audio,
    is_cut_ogg,
    is_cut_ts,
    measure_file,
    measure_riff,
)
from whisper_npu_cli.audio.frames import Joiner
from whisper_npu_cli.audio.part import Part
from whisper_npu_cli.audio.recording import Frames, Notice, Piece, make_damage
from whisper_npu_cli.audio.tracks import choose_track, describe_track
from whisper_npu_cli.errors import AudioError

_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_STATED_LENGTH = (_MP4, "matroska,webm", "asf", "flv", "flac")
# A stream is searched for so far: its first packet may come late. Seconds, bytes.
_PROBE = {"analyzeduration": "60000000", "probesize": "50000000"}
# Of memory at once: an mp4 of 10 kB made FFmpeg take 850 MB. The index of 90 h of AAC needs this.
_LARGEST_PIECE_BYTES = 384 << 20
_RIFF = ("wav", "avi")
# What is made to be read from its first byte to its last. Others have an index, often at their end.
_STREAMS = (
    *("wav", "w64", "au", "flac", "ogg", "mp3", "aac", "ac3", "eac3", "amr", "mpegts", "flv"),
    "matroska,webm",
)
_UNITS = {"mp3": "a frame", "aac": "a frame", "ogg": "a page", "mpegts": "a packet"}
_SOUND_WITHIN_S = 60.0
_SILENCE = 1e-4  # -80 dBFS

_COPY_AGAIN = "copy or download the file again"
_CONVERTIBLE = "give a recording, for example wav, flac, mp3, m4a, ogg, opus, mp4 or webm"

# The first bytes by which a file that cannot be opened is known for damaged audio
_MAGIC = (
    *(b"RIFF", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"ID3", b"#!AMR"),
    *(b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"FLV"),
)


def _limit_memory() -> None:
    """Let FFmpeg's libraries take no larger piece of memory, which PyAV has no setting for."""
    maps = Path("/proc/self/maps")
    if maps.exists() and (found := re.search("/.*libavutil.*", maps.read_text(encoding="utf-8"))):
        limit = ctypes.CDLL(found[0]).av_max_alloc
        limit.argtypes, limit.restype = [ctypes.c_size_t], None
        limit(_LARGEST_PIECE_BYTES)


_limit_memory()


def read_ffmpeg(file: FileIO, track: int | str | None) -> Iterator[Piece]:
    """Yield what an audio track holds: that number (from 1), that language, or the best one.

    AudioError where nothing can be opened, or there is no such track.
    """
    starts = find_ogg_links(file) or [find_mpeg_audio(file)]
    parts = [*zip(starts, [*starts[1:], measure_file(file)], strict=True)]
    with _listen() as complaints:
        index, now_s = None, 0.0
        while parts:
            start, end = parts.pop(0)
            try:
                with _open(file, start, end) as container:
                    if index is None:
                        index, notice = _choose_track(container, file, (start, end), track)
                        yield from notice
                    index = min(index, len(container.streams.audio) - 1)
                    part = Part(container, index, complaints, now_s)
                    yield from part.read()
                    if part.has_more and container.format.name == "mpegts":
                        successor = find_ts_program(file, start + part.last_byte)
                        parts[:0] = [(successor, end)] if successor else []
                    if not parts:
                        yield from part.end(*_describe_end(container, file, start, part))
                    now_s = part.clock.now_s
            except (av.FFmpegError, IndexError) as error:
                if index is None:
                    raise _unreadable(file) from error
                yield make_damage(now_s, None, "cannot be opened")


def read_ffmpeg_stream(file: FileIO, track: int | str | None) -> Iterator[Piece]:
    """Yield what an audio track holds while a file arrives that cannot seek.

    AudioError where all of the file must be there: to open it, or to choose a track.
    """
    with _listen() as complaints:
        try:
            allowed = {"format_whitelist": ",".join(_STREAMS)}  # no playlist among them
            container = av.open(file, options=allowed, metadata_errors="replace")
        except av.FFmpegError as error:
            raise _unreadable(file) from error
        with container:
            names = _describe_tracks(container)
            index = choose_track(container.streams.audio, track)
            if index is None:
                raise AudioError("which track has sound is known at its end")
            yield from _name_others(names, index, track)
            part = Part(container, index, complaints, 0.0)
            yield from part.read()
            is_other = part.has_more and container.format.name == "mpegts"  # in the same packets
            if part.has_new_stream or is_other:
                yield make_damage(part.clock.now_s, None, "another stream begins")
            else:
                yield from part.end(*_describe_end(container, file, 0, part))


def list_ffmpeg_tracks(file: FileIO) -> list[str]:
    """Return the description of each audio track; AudioError where there is none."""
    try:
        with _listen(), _open(file, 0, measure_file(file)) as container:
            return _describe_tracks(container)
    except av.FFmpegError as error:
        raise _unreadable(file) from error


def _describe_tracks(container: Any) -> list[str]:
    tracks = container.streams.audio
    if not tracks:
        raise AudioError("has no audio track", hint="give a recording with sound")
    return [describe_track(tracks, i) for i in range(len(tracks))]


def _open(file: FileIO, start: int, end: int) -> Any:
    """Return the PyAV container between two bytes, told by its content and never by a name.

    A playlist reaches for neither the network nor other files. Raises av.FFmpegError.
    """
    file.seek(0)
    options = {"fd": str(file.fileno()), "protocol_whitelist": "subfile,fd", **_PROBE}
    # subfile only for a part: with lengths beyond 2^63 it seeks to 0 without an end
    is_whole = (start, end) == (0, measure_file(file))
    url = "fd:" if is_whole else f"subfile,,start,{start},end,{end},,:fd:"
    # ID3v1 tags are Latin-1
    return av.open(url, options=options, metadata_errors="replace")


@contextmanager
def _listen() -> Iterator[list[tuple[int, str, str]]]:
    """Collect the errors that FFmpeg only logs: decoders conceal what they cannot decode."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as complaints:
            yield complaints
    finally:
        av.logging.set_level(level)


def _choose_track(
    container: Any, file: FileIO, part: tuple[int, int], wanted: int | str | None
) -> tuple[int, list[Notice]]:
    """Return the index of the audio track to read, and a notice where there are others."""
    names, tracks = _describe_tracks(container), container.streams.audio
    index = choose_track(tracks, wanted)
    if index is None:
        position = file.tell()  # of the container too: descriptors share it
        with _open(file, *part) as once_more:
            index = _find_sound(once_more, once_more.streams.audio)
        file.seek(position)
    return index, _name_others(names, index, wanted)


def _name_others(names: list[str], index: int, wanted: int | str | None) -> list[Notice]:
    """Return a notice where there are other tracks and none was asked for."""
    if len(names) == 1 or wanted is not None:
        return []
    others = ", ".join(name for i, name in enumerate(names) if i != index)
    return [Notice(f"{names[index]} is read; --track reads another: {others}")]


def _find_sound(container: Any, tracks: Any) -> int:
    """Return the index of the first track with sound in the first minute, or 0."""
    loud: set[int] = set()
    joiners = {track.index: Joiner() for track in tracks}
    latest_s = (container.start_time or 0) / 1e6 + _SOUND_WITHIN_S
    with suppress(av.FFmpegError, IndexError):  # IndexError: see `Part`; what was read decides
        for packet in container.demux(tracks):
            if packet.pts is not None and packet.pts * float(packet.time_base) > latest_s:
                break
            with suppress(av.FFmpegError):
                for frame in packet.decode():
                    if _has_sound(joiners[packet.stream.index].write(frame)):
                        loud.add(packet.stream.index)
            if tracks[0].index in loud:
                break
    loud |= {index for index, joiner in joiners.items() if _has_sound(joiner.flush())}
    return next((i for i, track in enumerate(tracks) if track.index in loud), 0)


def _has_sound(blocks: Iterator[Frames]) -> bool:
    return any(np.abs(block.samples).max() > _SILENCE for block in blocks)


def _describe_end(
    container: Any, file: FileIO, start: int, part: Part
) -> tuple[float | None, str | None]:
    """Return the time stamp at which the sound is said to end, and how the bytes are cut.

    None where nothing is said, or FFmpeg estimates it.
    """
    name, stated_s = container.format.name, None
    if name == "mp3" and (counted := count_mp3_samples(file, start)):
        stated_s = counted[0] / counted[1]
    elif name in _STATED_LENGTH and container.duration is not None:
        stated_s = container.duration / 1e6  # AV_TIME_BASE: microseconds
    elif name in _RIFF:
        stated_s = part.clock.now_s * measure_riff(file)
    if name == _MP4 and has_fragment(file, start + part.end_byte):
        return None, "the fragments behind it cannot be read"
    is_cut = stated_s is None and _is_cut(name, file, start + part.last_byte)
    return stated_s, f"ends within {_UNITS[name]}" if is_cut else None


def _is_cut(name: str, file: FileIO, last_byte: int) -> bool:
    """Return whether the bytes of a format show that it is cut; `last_byte` is of sound."""
    if name in ("mp3", "aac"):
        return is_cut_mpeg_audio(file, last_byte)
    return (name == "ogg" and is_cut_ogg(file)) or (name == "mpegts" and is_cut_ts(file))


def _unreadable(file: FileIO) -> AudioError:
    """Return the error for a file that cannot be opened."""
    file.seek(0)
    head = file.read(16)
    if head[4:8] == b"ftyp":
        return AudioError(
            "its index is missing (moov), because recording or copying it stopped early",
            hint="copy it again; of a recording, untrunc makes the index with that of another one",
        )
    if head.startswith(_MAGIC):
        return AudioError("truncated or damaged: its beginning is missing", hint=_COPY_AGAIN)
    return AudioError("not audio in a known format", hint=_CONVERTIBLE)
