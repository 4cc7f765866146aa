"""An audio source that is samples in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


class Samples:
    """What `AudioSource` is to a transcription."""

    path = name = "samples"

    def __init__(self, samples: NDArray[np.float32]) -> None:
        self._samples = samples

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all samples (n,) at once."""
        yield self._samples
