"""The coefficients come from the fit, and the header from the coefficients."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mlir import fit
from whisper_npu_cli.engines.npu import numerics


def test_coefficients_are_those_of_the_fit() -> None:
    edges = (0.0, *numerics.GELU_EDGES, numerics.GELU_LIMIT)
    for (low, high), piece in zip(pairwise(edges), numerics.GELU, strict=True):
        # 1e-5: the last digits of a least-squares solution differ between linear algebra libraries
        assert np.allclose(fit.fit(fit.log2_normal_tail, low, high, 3), piece, rtol=1e-5)
    assert np.allclose(fit.fit(np.exp2, -0.5, 0.5, 2), numerics.POWER, rtol=1e-5)
    assert np.allclose(fit.fit(np.exp2, -0.5, 0.5, 3), numerics.EXP2, rtol=1e-5)
    centres = [(low + high) / 2 for low, high in pairwise(edges)]
    assert tuple(centres) == numerics.GELU_CENTRES


def test_header_is_current() -> None:
    assert fit.HEADER.read_text(encoding="utf-8") == fit.make_header()
