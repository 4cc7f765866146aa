"""One channel of a two-channel recording, where the two are no single signal."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np
from numpy.typing import NDArray

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
        self._correlation = Correlation()

    def mix(self, frames: Frames) -> NDArray[np.float32]:
        """Return the samples (n,) of the channel; AudioError where there are not two."""
        n_channels = frames.samples.shape[1]
        if n_channels != 2:
            number = "one channel" if n_channels == 1 else f"{n_channels} channels"
            raise AudioError(f"{number}, where --speakers needs two", hint=HINT)
        self._correlation.add(frames.samples)
        return np.ascontiguousarray(frames.samples[:, self._index])

    def finish(self) -> Iterator[Notice]:
        """Raise AudioError where the two channels were one signal."""
        value = self._correlation.value
        if abs(value) > MAX_CORRELATION:
            raise AudioError(
                f"its two channels are one signal: correlation {value:.3f}, "
                f"where speakers apart have at most {MAX_CORRELATION:g}",
                hint=HINT,
            )
        yield from ()


class Correlation:
    """The correlation of two channels, whose samples pass in blocks."""

    def __init__(self) -> None:
        self._n_samples = 0
        self._sums = np.zeros(2)
        self._products = np.zeros((2, 2))

    def add(self, samples: NDArray[np.float32]) -> None:
        """Add a block (n, 2)."""
        exact = samples.astype(np.float64)
        self._n_samples += len(exact)
        self._sums += exact.sum(axis=0)
        self._products += exact.T @ exact

    @property
    def value(self) -> float:
        """Pearson's coefficient, -1 to 1; 0 where a channel is silent."""
        means = self._sums / max(1, self._n_samples)
        covariance = self._products - self._n_samples * np.outer(means, means)
        power = sqrt(max(0.0, covariance[0, 0] * covariance[1, 1]))
        return float(covariance[0, 1] / power) if power else 0.0
