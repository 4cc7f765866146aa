"""fp32 weights to the int8 weights of the compiled decoder, layer by layer.

Symmetric, one scale per row (one output of the product): the scale leaves the inner loop, and a
row with large weights costs the others nothing. Biases, norms and positions stay fp32: they are
under 1 % of the weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.decoder.kernels import Linear, Norm, Weights
from whisper_npu_cli.dims import ModelDims

F32Array = NDArray[np.float32]
ROWS_AT_ONCE = 4096  # of the vocabulary: fp32 copies of 21 MB at large's width, not 265 MB


class Checkpoint(Protocol):
    """What is needed of a checkpoint: dimensions, and fp32 arrays by Hugging Face name."""

    dims: ModelDims

    def array(self, name: str) -> F32Array:
        """Return the named tensor as fp32."""
        ...


def quantize_rows(weight: F32Array) -> tuple[NDArray[np.int8], F32Array]:
    """Return int8 codes (n_out, n_in) and scales (n_out,) with codes * scale = weight.

    Rounded to nearest: the error of a weight is at most half its row's scale.
    """
    largest = np.maximum(weight.max(axis=1), -weight.min(axis=1))
    scale = np.maximum(largest, np.finfo(np.float32).tiny * 127) / np.float32(127)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale
