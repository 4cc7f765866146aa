"""Functions of rows against NumPy, at the values where their tricks could break."""

from __future__ import annotations

import numpy as np
import pytest

from whisper_npu_cli.engines.numba_decoder.arrays import F32
from whisper_npu_cli.engines.numba_decoder.compiling import entry
from whisper_npu_cli.engines.numba_decoder.vectors import highest, highest_magnitude

ROWS = [[3.0], [-0.0, 0.0], [-2.5, -1e-38, -7.0], [-np.inf, -3.0], [-np.inf, -np.inf], [1.0, -9.0]]


@entry(F32[1])
def find_highest(x):  # type: ignore[no-untyped-def]
    return highest(x), highest_magnitude(x)


@pytest.mark.parametrize("row", [*ROWS, np.linspace(-5, 4, 1000)])
def test_highest_is_the_maximum(row: list[float]) -> None:
    x = np.array(row, np.float32)
    assert find_highest(x) == (x.max(), np.abs(x).max())
