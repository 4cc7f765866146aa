"""How channels vary and resemble each other: their second moments, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

# Powers below are the rounding of a constant offset: -140 dB of full scale, 24 bits
_MIN_POWER = 1e-14


@dataclass(frozen=True)
class Moments:
    """Sums over frames of channels; those of two blocks add up to those of both."""

    n_frames: float
    sums: NDArray[np.float64]  # (n_channels,)
    products: NDArray[np.float64]  # (n_channels, n_channels)

    @classmethod
    def measure(cls, samples: NDArray[np.float32]) -> Moments:
        """Return the moments of a block (n, n_channels), none where a sample is no number."""
        # one row a channel: numpy sums rows 10 x as fast as the columns of a stereo block
        channels = samples.T.astype(np.float64, order="C")
        with np.errstate(invalid="ignore"):
            sums = channels.sum(axis=1)
        if not np.isfinite(sums).all():
            return cls.empty(len(sums))
        return cls(len(samples), sums, channels @ channels.T)

    @classmethod
    def empty(cls, n_channels: int) -> Moments:
        """Return the moments of no frames."""
        return cls(0.0, np.zeros(n_channels), np.zeros((n_channels, n_channels)))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.n_frames + other.n_frames,
            self.sums + other.sums,
            self.products + other.products,
        )

    def fade(self, factor: float) -> Moments:
        """Return these moments with `factor` as their weight."""
        return Moments(factor * self.n_frames, factor * self.sums, factor * self.products)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """The covariance (n_channels, n_channels); 0 where there are no frames."""
        if not self.n_frames:
            return np.zeros_like(self.products)
        means = self.sums / self.n_frames
        return self.products / self.n_frames - np.outer(means, means)


def correlate(
    covariance: NDArray[np.float64], one: NDArray[np.float64], other: NDArray[np.float64]
) -> float:
    """Return Pearson's coefficient of two mixes of channels, -1 to 1; 0 where one is silent.

    A mix is the weight of each channel, (n_channels,).
    """
    powers = one @ covariance @ one, other @ covariance @ other
    if min(powers) < _MIN_POWER:
        return 0.0
    return float(one @ covariance @ other / sqrt(powers[0] * powers[1]))
