"""Int8 matrices in the order in which products read them.

A packed matrix (n_blocks, n_pairs, 2 * LANES) holds, for LANES outputs at a time, the weights of
all inputs in pairs: [block, k, 2 * i + h] is the weight of output LANES * block + i and input
2 * k + h. So a product of neighbours added in pairs, which is one instruction where a CPU has it
(`vpmaddwd`, `vpdpwssd` on x86), adds to LANES outputs at once and no sum is ever taken across a
register. With weights row by row, every output ended in one: on one Zen 4 core rows of 64 made 34 G
multiply-adds a second for one x and 52 G for five, packed they make 67 and 110 (AVX-512; with AVX2
32 and 43 against 51 and 80); rows of 512 from memory 22 and 70 against 37 and 110.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_CODE = 32767  # the largest int16
MAX_SUM = 2**31 - 1  # the largest int32
LANES = 16  # outputs of a block; as int32 they are one AVX-512 register, two of AVX2


def pack(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return a matrix (n_out, n_in) packed; outputs up to a multiple of LANES have zeros."""
    n_out, n_in = weight.shape
    padded = np.pad(weight, ((0, -n_out % LANES), (0, 0)))
    pairs = padded.reshape(-1, LANES, n_in // 2, 2).transpose(0, 2, 1, 3)
    return pairs.reshape(-1, n_in // 2, 2 * LANES)
