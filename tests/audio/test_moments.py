from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from whisper_npu_cli.audio.moments import Moments, correlate


@pytest.fixture
def samples() -> NDArray[np.float32]:
    """Three channels, (n, 3), two of them alike, with offsets."""
    made = np.random.default_rng(0).standard_normal((10_000, 3)).astype(np.float32)
    made[:, 1] += 0.5 * made[:, 0] + 3
    return made


def test_moments_of_blocks_add_up(samples: NDArray[np.float32]) -> None:
    blocks = np.array_split(samples, 7)
    moments = sum((Moments.measure(block) for block in blocks), Moments.empty(3))
    # float64 sums of as many squares: their rounding
    expected = np.cov(samples.T, bias=True)
    np.testing.assert_allclose(moments.covariance, expected, atol=1e-6)


def test_what_fades_loses_weight(samples: NDArray[np.float32]) -> None:
    """A block with half the weight counts as every other frame of one twice as long."""
    first, second = samples[:5000], samples[5000:]
    faded = Moments.measure(first).fade(0.5) + Moments.measure(second)
    expected = Moments.measure(np.concatenate([first, second, second])).covariance
    np.testing.assert_allclose(faded.covariance, expected, atol=1e-12)


def test_correlation_is_pearsons(samples: NDArray[np.float32]) -> None:
    covariance = Moments.measure(samples).covariance
    one, other = np.array([1.0, -1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    expected = np.corrcoef(samples @ one, samples @ other)[0, 1]
    assert correlate(covariance, one, other) == pytest.approx(expected, abs=1e-6)


def test_silence_correlates_with_nothing() -> None:
    """Also where a constant offset is rounded: 0.1 is no binary fraction."""
    for channels in (np.zeros((0, 2)), np.zeros((9, 2)), np.full((9999, 2), [0.1, -0.7])):
        covariance = Moments.measure(channels.astype(np.float32)).covariance
        assert correlate(covariance, *np.eye(2)) == 0
    assert correlate(Moments.empty(2).covariance, *np.eye(2)) == 0
