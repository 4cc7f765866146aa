"""What samples must be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.errors import AudioError

_LOUDEST = 1e12  # full scale is 1; the power of samples beyond 1e16 overflows fp32


def check_samples(block: NDArray[np.float32], start_s: float) -> None:
    """Raise AudioError where a sample of the block that begins at `start_s` is not sound."""
    peak = np.abs(block).max(initial=0)
    if not peak < _LOUDEST:  # also true of NaN
        raise AudioError(
            f"has a sample of {peak:g}, where full scale is 1, after {start_s:.1f} s",
            hint="export it again, for example as 16-bit wav",
        )


def without_samples() -> AudioError:
    """Return the error for what holds no sound at all."""
    return AudioError("has no samples", hint="record it again, or leave it out")
