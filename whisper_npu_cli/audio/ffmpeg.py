"""Read a recording with FFmpeg's libraries (PyAV, no program): on the clock that a player shows.

A sample lies where its time stamp says. What cannot be decoded is silence and is told; decoding
goes on behind it, because one bad packet is a few hundredths of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from typing import Any

import numpy as np

from whisper_npu_cli.audio.containers import (
    count_mp3_samples,
    find_mpeg_audio,
    is_cut_ogg,
    is_cut_ts,
)
from whisper_npu_cli.audio.recording import Frames, Notice, Piece, make_damage
from whisper_npu_cli.audio.tracks import choose_track, describe_track
from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.transcript import Damage

_BLOCK_FRAMES = 65_536  # 1.4 s at 48 kHz: large enough to hide the cost of a Python step
_STATED_LENGTH = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "flv", "flac")
_SLACK_S = 0.5  # muxers round durations up by a few frames of 20-100 ms
# A deviation that is no gap: time stamps are rounded, and live recorders write them late.
# FFmpeg's resampler fills from the same on (aresample, min_hard_comp).
_JITTER_S = 0.1
# A clock that jumps further was set anew, as where broadcasts or links of ogg are joined.
_TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT
_LONGEST_GAP_S = {True: 60.0, False: 43_200.0}  # by whether the format may do that at all
# In these, 0 is where a player begins; other clocks begin anywhere, or with the first stamp.
_CLOCK_FROM_ZERO = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_CONTAINERS = (*_STATED_LENGTH, "mpegts", "mpeg", "ogg", "avi")  # which have no tags at the end
_WITHOUT_GAPS = ("ogg",)  # whose time stamps count the samples
_LATEST_START_S = 600.0  # later, it is a piece of a live stream and not a track that joins late
_SOUND_WITHIN_S = 60.0
_SILENCE = 1e-4  # -80 dBFS
_MAX_FAILURES = 100  # to read the next packet, in a row; each skips some of the file
COPY_AGAIN = "copy or download the file again"
_CONVERTIBLE = "give a recording, for example wav, flac, mp3, m4a, ogg, opus, mp4 or webm"

# The first bytes by which a file that cannot be opened is known for damaged audio
_MAGIC = (
    *(b"RIFF", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"ID3", b"#!AMR"),
    *(b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"FLV"),
)


def open_container(file: FileIO) -> Any:
    """Return the PyAV container of an open file, told by its content and never by its name.

    `fd` is the only protocol: a playlist reaches for neither the network nor other files.
    Raises av.FFmpegError.
    """
    import av  # 0.1 s, not needed for wav

    options = {
        "fd": str(file.fileno()),
        "protocol_whitelist": "fd",
        "skip_initial_bytes": str(find_mpeg_audio(file)),
    }
    file.seek(0)
    return av.open("fd:", options=options, metadata_errors="replace")  # ID3v1 tags are Latin-1


def read_ffmpeg(file: FileIO, track: int | str | None) -> Iterator[Piece]:
    """Yield what an audio track holds: that number (from 1), that language, or the best one.

    AudioError where nothing can be opened, or there is no such track.
    """
    import av

    try:
        with _listen() as complaints:
            index, notice = _choose_track(file, track)
            if notice:
                yield Notice(notice)
            with open_container(file) as container:
                yield from _Track(container, index, file, complaints).pieces()
    except av.FFmpegError as error:
        raise _unreadable(file) from error


class _Track:
    """One audio track of an open PyAV container, from its first packet to its last."""

    def __init__(
        self, container: Any, index: int, file: FileIO, complaints: list[tuple[int, str, str]]
    ) -> None:
        self._container = container
        self._stream = container.streams.audio[index]
        self._file = file
        self._complaints = complaints  # what FFmpeg logs, for example that it resynchronises
        self._clock = _Clock(container)
        self._joiner = Joiner()
        self._end_s = 0.0  # of the latest packet of any stream
        self._unsure_from: float | None = None  # seconds, since a packet could not be decoded
        self._missing_s = 0.0  # since then
        self._reason = ""

    def pieces(self) -> Iterator[Piece]:
        """Yield the samples, silence where there are none, and what is damaged."""
        self._complaints.clear()
        for packet in self._packets():
            frames, is_sound = self._decode(packet)
            for frame in frames:
                yield from self._place(frame, is_sound=is_sound)
        yield from self._joiner.flush()
        yield from self._end()

    def _packets(self) -> Iterator[Any]:
        """Yield the packets of the track, over places that cannot be read."""
        import av

        n_failures = 0
        while n_failures < _MAX_FAILURES:
            try:
                # all streams are read, because the stated duration is that of the longest
                for packet in self._container.demux():
                    n_failures = 0
                    if packet.pts is not None and packet.duration is not None:
                        end_s = (packet.pts + packet.duration) * float(packet.time_base)
                        self._end_s = max(self._end_s, end_s - self._clock.zero_s)
                    if packet.stream.index == self._stream.index:
                        yield packet
                return
            except IndexError:  # PyAV 18.1 does not know of a stream that begins midway in MPEG-TS
                continue
            except av.FFmpegError:
                n_failures += 1
                self._doubt("cannot be read")

    def _decode(self, packet: Any) -> tuple[list[Any], bool]:
        """Return the frames of a packet, and whether it is sound."""
        import av

        try:
            frames = packet.decode()
        except av.FFmpegError:
            self._doubt("cannot be decoded")
            return [], False
        if packet.is_corrupt or self._complaints:
            self._doubt(self._complaints[0][2].strip() if self._complaints else "a packet is cut")
            self._complaints.clear()
            return frames, False
        return frames, True

    def _doubt(self, reason: str) -> None:
        if self._unsure_from is None:
            self._unsure_from, self._missing_s = self._clock.now_s, 0.0
            self._reason = reason

    def _place(self, frame: Any, *, is_sound: bool) -> Iterator[Piece]:
        """Yield what lies before a frame, and frames once there are many."""
        now_s, is_unsure = self._clock.now_s, self._unsure_from is not None
        gap_s = self._clock.find_gap(frame, 0.0 if is_unsure else _JITTER_S)
        if gap_s:
            yield from self._joiner.flush()
            yield from _silence(gap_s, frame.sample_rate, frame.layout.nb_channels)
            self._missing_s += gap_s
            if not is_unsure and self._container.format.name in _WITHOUT_GAPS:
                yield make_damage(now_s, now_s + gap_s, "pages are missing or damaged")
        if is_sound and is_unsure:
            yield self._close(self._clock.now_s)
        self._clock.advance(frame)
        yield from self._joiner.write(frame)

    def _end(self) -> Iterator[Piece]:
        """Yield what is missing at the end."""
        now_s = self._clock.now_s
        stated_s = _stated_duration_s(self._container, self._file, self._clock.zero_s)
        if self._unsure_from is not None:
            self._missing_s += max(0.0, stated_s - now_s)
            is_cut = not stated_s and self._container.format.name in _CONTAINERS
            yield self._close(None if is_cut else max(stated_s, now_s))
        elif self._end_s < stated_s - _SLACK_S:
            yield make_damage(now_s, stated_s, f"ends at {now_s:.1f} s of {stated_s:.1f} s")
        elif cut := _describe_cut(self._container, self._file):
            yield make_damage(now_s, None, cut)

    def _close(self, end_s: float | None) -> Damage:
        assert self._unsure_from is not None
        missing = end_s is None or self._missing_s > 0
        damage = make_damage(self._unsure_from, end_s, self._reason, missing=missing)
        self._unsure_from = None
        return damage


class _Clock:
    """Where the next sample belongs, in seconds on the clock that a player shows."""

    def __init__(self, container: Any) -> None:
        starts_s = (container.start_time or 0) / 1e6  # AV_TIME_BASE: microseconds
        from_zero = container.format.name in _CLOCK_FROM_ZERO and starts_s <= _LATEST_START_S
        self.zero_s = 0.0 if from_zero else starts_s
        self.now_s = 0.0
        may_jump = bool(container.format.flags & _TS_DISCONT)
        self._longest_gap_s = _LONGEST_GAP_S[may_jump]

    def find_gap(self, frame: Any, tolerance_s: float) -> float:
        """Return for how many seconds nothing lies before a frame, and move on over them."""
        if frame.pts is None:
            return 0.0
        gap_s = float(frame.pts * frame.time_base) - self.zero_s - self.now_s
        if tolerance_s < gap_s <= self._longest_gap_s:
            self.now_s += gap_s
            return gap_s
        if gap_s < -_JITTER_S or gap_s > self._longest_gap_s:  # the clock was set anew
            self.zero_s += gap_s
        return 0.0

    def advance(self, frame: Any) -> None:
        """Move on over a frame."""
        self.now_s += frame.samples / frame.sample_rate


class Joiner:
    """Join frames of 10-25 ms to blocks in FFmpeg: half the time of converting each.

    The rate, the channels and the sample format may change. Each of them has converters of its
    own: those of PyAV 18.1 end the process on a frame of another layout.
    """

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._joined: Any = None
        self._packed: Any = None

    def write(self, frame: Any) -> Iterator[Frames]:
        """Add a frame; yield what is complete."""
        from av import AudioFifo, AudioResampler

        key = frame.sample_rate, frame.layout.name, frame.layout.nb_channels, frame.format.name
        if key != self._key:
            yield from self.flush()
            # packed, because PyAV 18.1 crashes on planar arrays of 8 channels
            self._key = key
            self._joined, self._packed = AudioFifo(), AudioResampler(format="flt")
        frame.pts = None  # the clock has seen it
        self._joined.write(frame)
        if self._joined.samples >= _BLOCK_FRAMES:
            yield from self.flush()

    def flush(self) -> Iterator[Frames]:
        """Yield all frames that were added."""
        if self._joined is not None and self._joined.samples:
            for frame in self._packed.resample(self._joined.read()):
                samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
                yield Frames(frame.sample_rate, samples)


def _silence(duration_s: float, rate: int, n_channels: int) -> Iterator[Frames]:
    n_left = round(duration_s * rate)
    while n_left > 0:
        n = min(n_left, _BLOCK_FRAMES)
        yield Frames(rate, np.zeros((n, n_channels), np.float32))
        n_left -= n


@contextmanager
def _listen() -> Iterator[list[tuple[int, str, str]]]:
    """Collect the errors that FFmpeg only logs: decoders conceal what they cannot decode."""
    import av.logging

    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as complaints:
            yield complaints
    finally:
        av.logging.set_level(level)


def _choose_track(file: FileIO, wanted: int | str | None) -> tuple[int, str | None]:
    """Return the index of the audio track to read, and a notice where there are others."""
    with open_container(file) as container:
        tracks = container.streams.audio
        if not tracks:
            raise AudioError("has no audio track", hint="give a recording with sound")
        index = choose_track(tracks, wanted)
        if index is None:
            index = _find_sound(container, tracks)
        if len(tracks) == 1 or wanted is not None:
            return index, None
        names = [describe_track(tracks, i) for i in range(len(tracks))]
        others = ", ".join(name for i, name in enumerate(names) if i != index)
        return index, f"{names[index]} is read, of {len(tracks)}: --track takes {others}"


def _find_sound(container: Any, tracks: Any) -> int:
    """Return the index of the first track with sound in the first minute, or 0."""
    import av

    loud: set[int] = set()
    joiners = {track.index: Joiner() for track in tracks}
    for packet in container.demux(tracks):
        if packet.pts is not None and packet.pts * float(packet.time_base) > _SOUND_WITHIN_S:
            break
        with suppress(av.FFmpegError):
            for frame in packet.decode():
                for block in joiners[packet.stream.index].write(frame):
                    if np.abs(block.samples).max() > _SILENCE:
                        loud.add(packet.stream.index)
        if tracks[0].index in loud:
            break
    return next((i for i, track in enumerate(tracks) if track.index in loud), 0)


def _stated_duration_s(container: Any, file: FileIO, zero_s: float) -> float:
    """Return when the header says that the sound ends, or 0 where FFmpeg could only estimate it."""
    if container.format.name == "mp3":
        counted = count_mp3_samples(file)
        return counted[0] / counted[1] - zero_s if counted else 0.0
    if container.duration is None or container.format.name not in _STATED_LENGTH:
        return 0.0
    return float(container.duration / 1e6)  # AV_TIME_BASE: microseconds


def _describe_cut(container: Any, file: FileIO) -> str:
    """Return how the bytes of a file show that its end is missing, or nothing."""
    if container.format.name == "ogg" and is_cut_ogg(file):
        return "ends within a page"
    if container.format.name == "mpegts" and is_cut_ts(file):
        return "ends within a packet"
    return ""


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
        return AudioError("truncated or damaged: its beginning is missing", hint=COPY_AGAIN)
    return AudioError("not audio in a known format", hint=_CONVERTIBLE)
