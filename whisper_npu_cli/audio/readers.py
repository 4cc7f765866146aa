"""An encoded file to its samples at its own rate. Knows neither names shown to users nor 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from io import FileIO

from whisper_npu_cli.audio.recording import Piece
from whisper_npu_cli.audio.sndfile import open_sound, read_sound


def read_recording(file: FileIO, track: int | str | None = None) -> Iterator[Piece]:
    """Yield what an open file holds, told by its content; AudioError if nothing can be decoded.

    Of a file with several audio tracks one is read: `track` is its number, from 1, or language.
    """
    sound = open_sound(file) if track in (None, 1) else None
    if sound is None:
        from whisper_npu_cli.audio.ffmpeg import read_ffmpeg  # 0.1 s, not needed for wav

        yield from read_ffmpeg(file, track)
        return
    with sound:
        yield from read_sound(sound)


def read_arriving(file: FileIO, track: int | str | None = None) -> Iterator[Piece]:
    """Yield what a file holds that cannot seek; AudioError if it must be there as a whole."""
    from whisper_npu_cli.audio.ffmpeg import read_ffmpeg_stream

    yield from read_ffmpeg_stream(file, track)


def list_tracks(file: FileIO) -> list[str]:
    """Return the description of each audio track; AudioError where there is none."""
    if sound := open_sound(file):
        sound.close()
        return ["track 1"]
    from whisper_npu_cli.audio.ffmpeg import list_ffmpeg_tracks

    return list_ffmpeg_tracks(file)
