"""A two-channel recording to two sources, one for each channel, where each holds a signal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.moments import Moments, correlate
from whisper_npu_cli.audio.recording import Frames
from whisper_npu_cli.audio.sources import Block, EncodedSource, Source
from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.transcript import Damage

# Channels that are more alike than this are one signal. Measured: five mono recordings on both
# channels, with one of them 20 dB softer or with noise 10 dB below the speech, as mp3 and aac of
# 32 kbit/s and more: 0.93 at least, and 1 where plain or inverted. Two people, each on a channel:
# 0.01; each heard on the other's channel too, 10 dB softer: 0.58, 6 dB softer: 0.81.
MAX_CORRELATION = 0.9
_HINT = "leave out --speakers: all channels together are then transcribed"


def split_channels(source: Source) -> tuple[Source, Source]:
    """Return a source for each channel of a recording.

    AudioError, now or when they are read, where the recording does not have two channels.
    """
    if not isinstance(source, EncodedSource):
        raise AudioError(f"{source.name}: one channel, where --speakers needs two", hint=_HINT)
    return ChannelSource(source, 0), ChannelSource(source, 1)


class ChannelSource:
    """One channel of a two-channel recording, found at each reading to be a signal of its own."""

    can_reread = True

    def __init__(self, recording: EncodedSource, index: int) -> None:
        self.name = recording.name
        self._recording = recording
        self._index = index

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the samples of the channel in blocks (n,) at 16 kHz.

        AudioError names the recording; that its channels are one signal is known at the end.
        """
        return self._recording.read(self._take)

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Where what has been read so far is not sound."""
        return self._recording.damage

    def close(self) -> None:
        """Do nothing: who opened the recording closes it."""

    def _take(self, frames: Iterator[Frames]) -> Iterator[Block]:
        moments = Moments.empty(2)
        for piece in frames:
            n_channels = piece.samples.shape[1]
            if n_channels != 2:
                number = "one channel" if n_channels == 1 else f"{n_channels} channels"
                raise AudioError(f"{number}, where --speakers needs two", hint=_HINT)
            moments += Moments.measure(piece.samples)
            yield piece.rate, np.ascontiguousarray(piece.samples[:, self._index])
        correlation = correlate(moments.covariance, *np.eye(2))
        if abs(correlation) > MAX_CORRELATION:
            raise AudioError(
                f"its two channels are one signal: correlation {correlation:.3f}, "
                f"where speakers apart have at most {MAX_CORRELATION:g}",
                hint=_HINT,
            )
