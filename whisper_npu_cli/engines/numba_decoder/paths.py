"""Cheapest paths through a cost of (row, column), by dynamic time warping."""

from __future__ import annotations

import numpy as np

from whisper_npu_cli.engines.numba_decoder.calls import load
from whisper_npu_cli.engines.numba_decoder.compiling import kernel
from whisper_npu_cli.engines.numba_decoder.kinds import F32, I8
from whisper_npu_cli.engines.numba_decoder.warping import DIAGONAL, NEXT_COLUMN, NEXT_ROW


@kernel(F32[2], F32[2], I8[2], fastmath=False)
def fill_steps(_, arguments):  # type: ignore[no-untyped-def]
    """Do what `warping.find_steps` does, with `costs` (2, n_columns + 1) of paths to two rows."""
    cost, costs, steps = load(arguments)
    n_rows, n_columns = cost.shape
    steps[:, 0], steps[0, :] = NEXT_ROW, NEXT_COLUMN
    before, here = costs[0], costs[1]  # to the row above, and to this one
    before[:], before[0] = np.inf, 0
    for i in range(1, n_rows + 1):
        here[0] = np.inf
        for j in range(1, n_columns + 1):
            diagonal, above, left = before[j - 1], before[j], here[j - 1]
            if diagonal < above and diagonal < left:
                best, step = diagonal, DIAGONAL
            elif above < diagonal and above < left:
                best, step = above, NEXT_ROW
            else:
                best, step = left, NEXT_COLUMN
            here[j] = cost[i - 1, j - 1] + best
            steps[i, j] = step
        before, here = here, before
