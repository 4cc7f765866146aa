"""Frames of FFmpeg as blocks of samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from whisper_npu_cli.audio.recording import BLOCK_FRAMES, Frames


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
        key = frame.sample_rate, frame.layout.name, frame.layout.nb_channels, frame.format.name
        if key != self._key:
            yield from self.flush()
            # packed, because PyAV 18.1 crashes on planar arrays of 8 channels
            self._key = key
            self._joined, self._packed = av.AudioFifo(), av.AudioResampler(format="flt")
        frame.pts = None  # the clock has seen it
        self._joined.write(frame)
        if self._joined.samples >= BLOCK_FRAMES:
            yield from self.flush()

    def flush(self) -> Iterator[Frames]:
        """Yield all frames that were added."""
        if self._joined is not None and self._joined.samples:
            for frame in self._packed.resample(self._joined.read()):
                samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
                yield Frames(frame.sample_rate, samples)


def make_silence(duration_s: float, rate: int, n_channels: int) -> Iterator[Frames]:
    """Yield zeros in blocks."""
    n_left = round(duration_s * rate)
    while n_left > 0:
        n = min(n_left, BLOCK_FRAMES)
        yield Frames(rate, np.zeros((n, n_channels), np.float32))
        n_left -= n
