"""The steps of dynamic time warping, compiled: the cheapest paths through a cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.engines.numba_decoder.code import PACKAGE, Kernel

DIAGONAL, NEXT_ROW, NEXT_COLUMN = 0, 1, 2  # steps of a path

_FIND_STEPS = Kernel(f"{PACKAGE}.paths:fill_steps")


def find_steps(cost: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return the last step (n_rows + 1, n_columns + 1) of the cheapest path to each cell of `cost`.

    Where the other two predecessors cost the same, the step to the next column is taken even if
    it costs more, as in openai/whisper.
    """
    n_rows, n_columns = cost.shape
    steps = np.empty((n_rows + 1, n_columns + 1), np.int8)
    costs = np.empty((2, n_columns + 1), np.float32)
    _FIND_STEPS(0, np.ascontiguousarray(cost, np.float32), costs, steps)
    return steps
