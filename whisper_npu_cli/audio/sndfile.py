"""Read a recording with libsndfile: sound as it is in wav, aiff, au, caf and the like.

Their headers state the length exactly, and libsndfile knows more variants of them than others.
What is compressed is not read with it: it stops at an estimated length in variable-rate mp3
without a Xing header (5 s of 30 seen; libsndfile issue 1001), after the first stream of a chained
ogg, and at the first damaged frame of flac.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from io import FileIO

import soundfile

from whisper_npu_cli.audio.containers import UNKNOWN_SIZE
from whisper_npu_cli.audio.recording import BLOCK_FRAMES, Frames, Piece, make_damage

_BLOCK_SAMPLES = 8 * BLOCK_FRAMES  # a header may claim 1024 channels: 640 MB seen
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"caff", b".snd", b"dns.")
_SHORT = "psf_fread returned short count"
_SYSTEM_ERROR = 2  # SF_ERR_SYSTEM
_MPEG = "MPEG"  # the beginning of subtypes: mp3 within wav

# What libsndfile's log says of a file that is shorter than its header
_SIZES = re.compile(r"^ *(?:data|SSND|riff|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_CUT = re.compile(r"does not match value from 'ds64'")


def open_sound(file: FileIO) -> soundfile.SoundFile | None:
    """Open a file with libsndfile; None where it is not for it."""
    file.seek(0)
    if not file.read(4).startswith(_MAGIC):
        return None
    file.seek(0)
    try:
        # by descriptor: libsndfile then looks at the content and not at the suffix
        sound = soundfile.SoundFile(file.fileno(), closefd=False)
    except soundfile.LibsndfileError as error:
        _raise_read_error(error)
        return None
    # no frames: a recorder that crashed left the length 0; a header that could not be read whole:
    # libsndfile goes on with what was in memory, and takes sound for other sound
    is_broken = _SHORT in sound.extra_info
    if sound.subtype.startswith(_MPEG) or not sound.frames or is_broken:
        sound.close()
        return None
    return sound


def read_sound(sound: soundfile.SoundFile) -> Iterator[Piece]:
    """Yield all samples, and what is missing at the end."""
    n_read, n_frames = 0, min(BLOCK_FRAMES, _BLOCK_SAMPLES // sound.channels)
    missing = _measure_missing(sound)
    while n_read < sound.frames:
        try:
            block = sound.read(n_frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            _raise_read_error(error)
            missing = sound.frames - n_read, str(error)
            break
        if not len(block):
            missing = sound.frames - n_read, "the end of the sound is missing"
            break
        n_read += len(block)
        yield Frames(sound.samplerate, block)
    if missing:
        n_missing, reason = missing
        end_s = (n_read + n_missing) / sound.samplerate if n_missing else None
        yield make_damage(n_read / sound.samplerate, end_s, reason)


def _raise_read_error(error: soundfile.LibsndfileError) -> None:
    """Raise OSError where the disk failed, of which libsndfile does not tell how."""
    if error.code == _SYSTEM_ERROR:
        raise OSError(errno.EIO, os.strerror(errno.EIO)) from error


def _measure_missing(sound: soundfile.SoundFile) -> tuple[float, str] | None:
    """Return how many frames libsndfile noted to be missing, 0 where unknown, and the reason."""
    for stated, actual in _SIZES.findall(sound.extra_info):
        if int(actual) < int(stated) < UNKNOWN_SIZE:
            share = int(stated) / max(1, int(actual)) - 1
            return sound.frames * share, f"{actual} of {stated} bytes of sound are there"
    if _CUT.search(sound.extra_info):
        return 0, "the end of the sound is missing"
    return None
