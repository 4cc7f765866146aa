"""One container of FFmpeg's libraries, read from its first packet to its last.

What cannot be decoded is silence and is told; decoding goes on behind it, because one bad packet
is a few hundredths of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

import av

from whisper_npu_cli.audio.clock import JITTER_S, Clock
from whisper_npu_cli.audio.containers import has_length_tag
from whisper_npu_cli.audio.frames import Joiner, make_silence
from whisper_npu_cli.audio.recording import Piece, make_damage
from whisper_npu_cli.transcript import Damage

_SLACK_S = 0.5  # muxers round durations up by a few frames of 20-100 ms
# Whose time stamps are FFmpeg's, which counts the frames with the duration of the first
_COUNTED = ("mp3", "aac", "ac3", "eac3", "amr", "avi")
_WITHOUT_GAPS = ("ogg",)  # whose time stamps count the samples
_APART_S = 0.5  # damage that is closer is one: a lost place costs some of the packets behind it
# What cannot be decoded at the end of these is sound, and no tag, if they do not state a length
_UNTAGGED = ("matroska,webm", "amr", "ac3", "eac3")
_MAX_FAILURES = 100  # to read the next packet, in a row; each skips some of the file


class Part:
    """One audio track of a PyAV container, whose first sample is at `start_s`."""

    def __init__(
        self, container: Any, index: int, complaints: list[tuple[int, str, str]], start_s: float
    ) -> None:
        self._container = container
        self._stream = container.streams.audio[index]
        self._complaints = complaints  # what FFmpeg logs, for example that it resynchronises
        self.clock = Clock(container, self._stream, start_s)
        self.last_byte = 0  # at which the last sound packet begins
        self.end_byte = 0  # at which the last packet of any stream ends
        self.has_new_stream = False  # of sound, which begins midway
        self._joiner = Joiner()
        self._last_stamp_s = 0.0  # end of the latest packet of any stream
        self._unsure_from: float | None = None  # seconds, since a packet could not be decoded
        self._sure_from: float | None = None  # seconds, since packets are sound again
        self._missing_s = 0.0  # in between
        self._reason = ""

    def read(self) -> Iterator[Piece]:
        """Yield the samples, silence where there are none, and what is damaged in between."""
        self._complaints.clear()
        for packet in self._packets():
            frames, is_sound = self._decode(packet)
            for frame in frames:
                yield from self._place(frame, is_sound=is_sound)
        yield from self._joiner.flush()

    @property
    def has_more(self) -> bool:
        """Whether there is sound behind the end of the track: in a new stream, or undecodable."""
        return self.has_new_stream or self._is_failing

    def end(self, stated_s: float | None, cut: str | None) -> Iterator[Damage]:
        """Yield what is missing at the end.

        `stated_s` is the time stamp at which the sound is said to end, and `cut` how the bytes
        show that some are missing.
        """
        now_s = self.clock.now_s
        stated_end_s = now_s if stated_s is None else max(now_s, self.clock.read(stated_s))
        if self._sure_from is not None:
            yield self._close(self._sure_from)
        if self._unsure_from is not None:
            self._missing_s += stated_end_s - now_s
            is_open = stated_s is None and (cut or self._container.format.name in _UNTAGGED)
            yield self._close(None if is_open else stated_end_s)
        elif stated_s is not None and self._last_stamp_s < stated_s - _SLACK_S:
            yield make_damage(now_s, stated_end_s, f"ends at {now_s:.1f} s of {stated_end_s:.1f} s")
        elif cut:
            yield make_damage(now_s, None, cut)

    def _packets(self) -> Iterator[Any]:
        """Yield the packets of the track, over places that cannot be read."""
        ticks_s = [float(stream.time_base or 0) for stream in self._container.streams]
        n_failures = 0
        while n_failures < _MAX_FAILURES:
            try:
                # all streams are read, because the stated duration is that of the longest
                for packet in self._container.demux():
                    n_failures = 0
                    self.end_byte = max(self.end_byte, (packet.pos or 0) + packet.size)
                    if packet.pts is not None and packet.duration is not None:
                        stamp_s = (packet.pts + packet.duration) * ticks_s[packet.stream_index]
                        self._last_stamp_s = max(self._last_stamp_s, stamp_s)
                    if packet.stream.index == self._stream.index:
                        yield packet
                return
            except IndexError:  # PyAV 18.1 has no stream for a packet of one that begins midway
                n_known = len(self._container.streams.audio)
                self.has_new_stream |= self._container.dumps_format().count("Audio:") > n_known
            except av.FFmpegError:
                n_failures += 1
                self._doubt("cannot be read")

    def _decode(self, packet: Any) -> tuple[list[Any], bool]:
        """Return the frames of a packet, and whether it is sound."""
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self._complaints.clear()
            if not has_length_tag(bytes(packet)):
                self._doubt("cannot be decoded")
            return [], False
        is_short = packet.is_corrupt and self._container.format.name != "wav"  # has no packets
        if is_short or self._complaints:
            self._doubt(self._complaints[0][2].strip() if self._complaints else "a packet is cut")
            self._complaints.clear()
            return frames, False
        self.last_byte = packet.pos or self.last_byte
        return frames, True

    def _doubt(self, reason: str) -> None:
        if self._unsure_from is None:
            self._unsure_from, self._missing_s = self.clock.now_s, 0.0
            self._reason = reason
        self._sure_from = None

    @property
    def _is_failing(self) -> bool:
        return self._unsure_from is not None and self._sure_from is None

    def _place(self, frame: Any, *, is_sound: bool) -> Iterator[Piece]:
        """Yield what lies before a frame, and frames once there are many."""
        now_s, is_failing = self.clock.now_s, self._is_failing
        is_counted = self._container.format.name in _COUNTED
        tolerance_s = 0.0 if is_failing else inf if is_counted else JITTER_S
        gap_s = self.clock.find_gap(frame, tolerance_s)
        if gap_s:
            yield from self._joiner.flush()
            yield from make_silence(gap_s, frame.sample_rate, frame.layout.nb_channels)
            self._missing_s += gap_s if is_failing else 0.0
            if not is_failing and self._container.format.name in _WITHOUT_GAPS:
                yield make_damage(now_s, now_s + gap_s, "pages are missing or damaged")
        if is_failing and is_sound:
            self._sure_from = self.clock.now_s
        if self._sure_from is not None and self.clock.now_s - self._sure_from >= _APART_S:
            yield self._close(self._sure_from)
        self.clock.advance(frame)
        yield from self._joiner.write(frame)

    def _close(self, end_s: float | None) -> Damage:
        assert self._unsure_from is not None
        missing = end_s is None or self._missing_s > 0
        damage = make_damage(self._unsure_from, end_s, self._reason, missing=missing)
        self._unsure_from = self._sure_from = None
        return damage
