"""One channel of a two-channel recording, where the two are no single signal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.moments import Moments, correlate
from whisper_npu_cli.audio.recording import Frames, Notice
from whisper_npu_cli.errors import AudioError

# Channels that are more alike than this are one signal. Measured: five mono recordings on both
# channels, with one of them 20 dB softer or with noise 10 dB below the speech, as mp3 and aac of
# 32 kbit/s and more: 0.93 at least, and 1 where plain or inverted. Two people, each on a channel:
# 0.01; each heard on the other's channel too, 10 dB softer: 0.58, 6 dB softer: 0.81.
MAX_CORRELATION = 0.9
HINT = "leave out --speakers: all channels together are then transcribed"


class Channel:
    """A channel by its index, 0 or 1."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._moments = Moments.empty(2)

    def mix(self, frames: Frames) -> NDArray[np.float32]:
        """Return the samples (n,) of the channel; AudioError where there are not two."""
        n_channels = frames.samples.shape[1]
        if n_channels != 2:
            number = "one channel" if n_channels == 1 else f"{n_channels} channels"
            raise AudioError(f"{number}, where --speakers needs two", hint=HINT)
        self._moments += Moments.measure(frames.samples)
        return np.ascontiguousarray(frames.samples[:, self._index])

    def finish(self) -> Iterator[Notice]:
        """Raise AudioError where the two channels were one signal."""
        value = correlate(self._moments.covariance, *np.eye(2))
        if abs(value) > MAX_CORRELATION:
            raise AudioError(
                f"its two channels are one signal: correlation {value:.3f}, "
                f"where speakers apart have at most {MAX_CORRELATION:g}",
                hint=HINT,
            )
        yield from ()
