"""An encoded file to its channels at its own rate. Knows neither names shown to users nor 16 kHz.

libsndfile reads what states its length exactly: wav in every sample format, flac, aiff, au, caf.
FFmpeg's libraries (PyAV, no program) read the rest. That includes mp3 and ogg, which libsndfile
would decode too: it stops at an estimated length in variable-rate mp3 without a Xing header (5 s
of 30 seen; libsndfile issue 1001), and after the first stream of a chained ogg, both silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import FileIO
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from whisper_npu_cli.audio.streams import Section
from whisper_npu_cli.errors import AudioError

Frames = tuple[int, NDArray[np.float32]]  # sample rate in Hz, samples (n, n_channels)

_BLOCK_FRAMES = 65_536  # 1.4 s at 48 kHz: large enough to hide the cost of a Python step
_SLACK_S = 0.5  # muxers round durations up by a few frames of 20-100 ms
_LENGTH_UNSURE = ("MP3", "OGG")  # libsndfile's names, see above
_STATED_LENGTH = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "flv")  # FFmpeg's names
_UNKNOWN_FRAMES = 1 << 62  # libsndfile gives 2**63 - 1 for flac that was written into a pipe
_COPY_AGAIN = "copy or download the file again"
_CONVERTIBLE = "give a recording, for example wav, flac, mp3, m4a, ogg, opus, mp4 or webm"

# The first bytes by which a file that cannot be opened is known for damaged audio
_MAGIC = (b"RIFF", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"ID3")
_MAGIC_FFMPEG = (b"#!AMR", b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"FLV")

# What libsndfile's log says of a file that is shorter than its header. Sizes from 0x7FFF0000 on
# are what programs write that cannot seek back: sox, arecord, ffmpeg into a pipe.
_SIZES = re.compile(r"^ *(?:data|SSND|riff|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 0x7FFF_0000
_CUT = re.compile(
    r"lacks an end-of-stream bit|Junk after the last page|does not match value from 'ds64'"
)


def read_frames(file: FileIO | Section) -> Iterator[Frames]:
    """Yield the samples of all channels, block after block; AudioError if it cannot be decoded.

    A FileIO is a regular file opened by its path: the libraries then read it without Python.
    """
    # by descriptor: libsndfile then looks at the content and not at the suffix
    handle = file.fileno() if isinstance(file, FileIO) else file
    try:
        sound = soundfile.SoundFile(handle, closefd=False)
    except soundfile.LibsndfileError:
        sound = None
    if sound is not None:
        with sound:
            _check_log(sound.extra_info)
            if sound.format not in _LENGTH_UNSURE and sound.frames < _UNKNOWN_FRAMES:
                yield from _read_sndfile(sound)
                return
    yield from _read_ffmpeg(file)


def _damaged(detail: str) -> AudioError:
    return AudioError(f"truncated or damaged: {detail}", hint=_COPY_AGAIN)


def _check_log(log: str) -> None:
    """Raise AudioError where libsndfile noted that the file ends before its header says."""
    for stated, actual in _SIZES.findall(log):
        if int(actual) < int(stated) < _UNKNOWN_SIZE:
            raise _damaged(f"{actual} of {stated} bytes of sound are there")
    if _CUT.search(log):
        raise _damaged("the end of the sound is missing")


def _read_sndfile(sound: soundfile.SoundFile) -> Iterator[Frames]:
    n_read = 0
    while n_read < sound.frames:
        try:
            block = sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise _damaged(f"unreadable after {n_read / sound.samplerate:.1f} s") from error
        if not len(block):
            missing = f"ends at {n_read / sound.samplerate:.1f} s"
            raise _damaged(f"{missing} of {sound.frames / sound.samplerate:.1f} s")
        n_read += len(block)
        yield sound.samplerate, block


def _read_ffmpeg(file: FileIO | Section) -> Iterator[Frames]:
    import av  # 0.1 s, not needed for wav and flac

    file.seek(0)
    # A playlist must not reach for the network, and one that was sent not for files either
    url, protocols = (f"file:{file.name}", "file") if isinstance(file, FileIO) else (file, "none")
    try:
        container = av.open(
            url,
            options={"protocol_whitelist": protocols},
            metadata_errors="replace",  # ID3v1 tags are Latin-1
        )
    except av.FFmpegError as error:
        raise _unreadable(file) from error
    with container:
        stream = container.streams.best("audio")
        if stream is None:
            raise AudioError("has no audio track", hint="give a recording with sound")
        decoder = _Decoder(container, stream)
        try:
            yield from decoder.blocks()
        # IndexError: PyAV 18.1 does not know of a stream that begins midway in MPEG-TS
        except (av.FFmpegError, ValueError, IndexError) as error:
            raise _damaged(f"unreadable after {decoder.end_s:.1f} s") from error
        stated_s = _stated_duration_s(container, file)
        if decoder.end_s < stated_s - _SLACK_S:
            raise _damaged(f"ends at {decoder.end_s:.1f} s of {stated_s:.1f} s")


class _Decoder:
    """Decode one audio stream of an open PyAV container."""

    def __init__(self, container: Any, stream: Any) -> None:
        self.end_s = 0.0  # of the latest packet of any stream
        self._container = container
        self._stream = stream

    def blocks(self) -> Iterator[Frames]:
        """Yield blocks. ValueError where a packet is cut or the format changes midway."""
        from av import AudioFifo, AudioResampler

        # Frames of 10-25 ms are joined in FFmpeg: half the time of converting each. Packed,
        # because PyAV 18.1 crashes on planar arrays of 8 channels.
        joined, packed = AudioFifo(), AudioResampler(format="flt")
        for frame in self._frames():
            frame.pts = None  # gaps and overlaps of time stamps are no error
            joined.write(frame)
            if joined.samples >= _BLOCK_FRAMES:
                yield from map(_block, packed.resample(joined.read()))
        if joined.samples:
            yield from map(_block, packed.resample(joined.read()))

    def _frames(self) -> Iterator[Any]:
        # all streams are read, because the stated duration is that of the longest
        for packet in self._container.demux():
            if packet.is_corrupt:
                raise ValueError("a packet is cut")
            if packet.pts is not None and packet.duration is not None:
                end_s = (packet.pts + packet.duration) * float(packet.time_base)
                self.end_s = max(self.end_s, end_s)
            if packet.stream.index == self._stream.index:
                yield from packet.decode()


def _block(frame: Any) -> Frames:
    return frame.sample_rate, frame.to_ndarray().reshape(-1, frame.layout.nb_channels)


def _stated_duration_s(container: Any, file: FileIO | Section) -> float:
    """Return the duration that the header states, or 0 where FFmpeg could only estimate it."""
    name = container.format.name
    if container.duration is None or not (
        name in _STATED_LENGTH or (name == "mp3" and _states_mp3_length(file))
    ):
        return 0.0
    return float(container.duration / 1e6)  # AV_TIME_BASE: microseconds


def _states_mp3_length(file: FileIO | Section) -> bool:
    """Tell if an mp3's first frame is a Xing, Info or VBRI header, which counts the frames."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3":  # its size: 4 bytes of 7 bits (ID3v2.4 structure, section 3.1)
        start = 10 + sum(
            byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
    file.seek(start)
    first_frame = file.read(256)
    return any(tag in first_frame for tag in (b"Xing", b"Info", b"VBRI"))


def _unreadable(file: FileIO | Section) -> AudioError:
    """Return the error for a file that no library opens."""
    file.seek(0)
    head = file.read(16)
    if head.startswith(_MAGIC + _MAGIC_FFMPEG) or head[4:8] == b"ftyp":
        return _damaged("its beginning or its index is missing")
    return AudioError("not audio in a known format", hint=_CONVERTIBLE)
