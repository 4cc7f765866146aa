"""Channels to mono: their mean, of which none cancels another and silent ones are no part.

Each block is mixed by what is in it and in those before it. Where nothing is odd, the mix is
the mean of all channels, to the bit. What it costs beyond the mean: 0.24 ms for 65,536 frames of
stereo, 0.9 ms for eight channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.moments import Moments, correlate
from whisper_npu_cli.audio.recording import Frames, Notice

# A channel whose correlation with the mix of those before it is below this is inverted: at -0.5
# the mean of two is 6 dB softer than either. A channel then takes at most 1/4 of the power of the
# sum of those before it, so that nothing cancels whatever the number of channels. Measured in
# blocks of 65,536 frames at 48 kHz: 120 pairs of recordings -0.09 at least, two speakers -0.01,
# eight channels 0.00. Inverted copies, as mp3, aac and opus of 32 kbit/s and more with noise
# 10 dB below the speech: -0.94 at most. A copy that comes 0.8 to 2 ms later: as low as -0.67.
_CANCELS = -0.5

# A channel whose loudest block is this much below that of the loudest channel is silent: 60 dB.
# What opus of 32 kbit/s leaves in a silent channel is 62 dB below speech, mp3 and aac nothing.
_SILENT = 1e-6

# The time in which what was heard loses weight. Its only use are blocks too short to judge by,
# as at the end: two speakers have a correlation of -0.7 in one of 0.25 s. With 2 s, 4 s are lost
# where a channel is inverted in the middle; with 0.5 s, at most the block in which it begins.
_MEMORY_S = 0.5


class Mixer:
    """Mixes the channels of one recording, whose rate and channels may change in between."""

    def __init__(self) -> None:
        self._inverted: dict[int, Notice] = {}  # by the index of the channel, when it first was
        self._start(0, 1)

    def mix(self, frames: Frames) -> NDArray[np.float32]:
        """Return mono samples (n,)."""
        n_channels = frames.samples.shape[1]
        if (frames.rate, n_channels) != (self._rate, len(self._signs)):
            self._start(frames.rate, n_channels)
        return _average(frames.samples, self._weigh(frames.samples))

    def finish(self) -> Iterator[Notice]:
        """Yield a notice for each channel that was inverted."""
        yield from self._inverted.values()

    def _start(self, rate: int, n_channels: int) -> None:
        self._rate = rate
        self._signs = np.ones(n_channels)
        self._loudest = np.zeros(n_channels)  # power of each channel's loudest block
        self._recent = Moments.empty(n_channels)

    def _weigh(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the weight of each channel, -1, 0 or 1, (n_channels,)."""
        if samples.shape[1] == 1:
            return self._signs
        block = Moments.measure(samples)
        self._recent = self._recent.fade(exp(-len(samples) / self._rate / _MEMORY_S)) + block
        self._loudest = np.maximum(self._loudest, block.covariance.diagonal())
        is_silent = self._loudest < _SILENT * self._loudest.max()
        covariance = self._recent.covariance
        weights = np.zeros_like(self._signs)
        for channel in map(int, np.flatnonzero(~is_silent)):
            own = np.zeros_like(weights)
            own[channel] = self._signs[channel]
            correlation = correlate(covariance, weights, own)
            if correlation < _CANCELS:  # turned back by the same rule, so that it does not flap
                own = -own
                self._invert(channel, np.flatnonzero(weights), correlation)
            weights += own
        return weights

    def _invert(self, channel: int, others: NDArray[np.intp], correlation: float) -> None:
        self._signs[channel] *= -1
        noun = "channel" if len(others) == 1 else "channels"
        numbers = ", ".join(str(other + 1) for other in others)
        text = (
            f"channel {channel + 1} is inverted: it would cancel {noun} {numbers} "
            f"(correlation {correlation:.2f})"
        )
        self._inverted.setdefault(channel, Notice(text))


def _average(samples: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the mean (n,) of the channels (n, n_channels) that have a weight, 1 or -1."""
    first, *others = np.flatnonzero(weights)
    mono = samples[:, first] * np.float32(weights[first])
    for channel in others:  # 30 x as fast as mean(axis=1) for stereo
        if weights[channel] > 0:
            mono += samples[:, channel]
        else:
            mono -= samples[:, channel]
    mono /= 1 + len(others)
    return mono
