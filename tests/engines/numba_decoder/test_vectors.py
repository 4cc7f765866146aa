"""Functions of rows against NumPy, at the values where their tricks could break."""

from __future__ import annotations

import numpy as np
import pytest

from whisper_npu_cli.engines.numba_decoder.calls import load
from whisper_npu_cli.engines.numba_decoder.compiling import kernel
from whisper_npu_cli.engines.numba_decoder.kinds import F32
from whisper_npu_cli.engines.numba_decoder.vectors import highest, highest_magnitude

ROWS = [[3.0], [-0.0, 0.0], [-2.5, -1e-38, -7.0], [-np.inf, -3.0], [-np.inf, -np.inf], [1.0, -9.0]]


@kernel(F32[1], F32[1])
def find_highest(_, arguments):  # type: ignore[no-untyped-def]
    x, found = load(arguments)
    found[0], found[1] = highest(x), highest_magnitude(x)


@pytest.mark.parametrize("row", [*ROWS, np.linspace(-5, 4, 1000)])
def test_highest_is_the_maximum(row: list[float]) -> None:
    x = np.array(row, np.float32)
    found = np.empty(2, np.float32)
    find_highest(0, x, found)
    assert found.tolist() == [x.max(), np.abs(x).max()]
