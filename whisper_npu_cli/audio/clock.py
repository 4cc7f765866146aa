"""Where samples belong, in seconds on the clock that a player shows."""

from __future__ import annotations

from typing import Any

# A deviation that is no gap: time stamps are rounded, and live recorders write them late.
# FFmpeg's resampler fills from the same on (aresample, min_hard_comp).
JITTER_S = 0.1
# A clock that jumps further was set anew, as where broadcasts are joined, or is damaged: each hour
# of silence takes some seconds to read.
_LONGEST_GAP_S = {True: 60.0, False: 3_600.0}  # by whether the format may set it anew at all
_MAX_GAPS_S = 14_400.0  # all together: a damaged avi of 2 s had 37 h, in a gap before each packet
_TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT
# In these, 0 is where a player begins; other clocks begin anywhere, or with the first stamp.
_CLOCK_FROM_ZERO = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_LATEST_START_S = 600.0  # later, it is a piece of a live stream and not a track that joins late


class Clock:
    """The time of the next sample of a PyAV stream, `now_s`, which begins at `start_s`."""

    def __init__(self, container: Any, stream: Any, start_s: float) -> None:
        self._tick_s = float(stream.time_base)
        stamp_s = (container.start_time or 0) / 1e6  # AV_TIME_BASE: microseconds
        from_zero = container.format.name in _CLOCK_FROM_ZERO and stamp_s <= _LATEST_START_S
        self._zero_s = (0.0 if from_zero else stamp_s) - start_s
        self.now_s = start_s
        self._gaps_left_s = _MAX_GAPS_S
        self._longest_gap_s = _LONGEST_GAP_S[bool(container.format.flags & _TS_DISCONT)]

    def read(self, stamp_s: float) -> float:
        """Return the time of a time stamp in seconds."""
        return stamp_s - self._zero_s

    def find_gap(self, frame: Any, tolerance_s: float) -> float:
        """Return for how many seconds nothing lies before a frame, and move on over them.

        What is at most `tolerance_s` is none.
        """
        if frame.pts is None:
            return 0.0
        gap_s = self.read(frame.pts * self._tick_s) - self.now_s
        if tolerance_s < gap_s <= min(self._longest_gap_s, self._gaps_left_s):
            self.now_s += gap_s
            self._gaps_left_s -= gap_s
            return gap_s
        if abs(gap_s) > JITTER_S:  # the clock was set anew, or is wrong
            self._zero_s += gap_s
        return 0.0

    def advance(self, frame: Any) -> None:
        """Move on over a frame."""
        self.now_s += frame.samples / frame.sample_rate
