"""Fit the polynomials of the kernels, and write `kernels/coefficients.h`: `python -m mlir.fit`.

The fitted numbers stand in `numerics.py` of the package, which defines the operations; a
test repeats the fit and compares, and the header is made from there, so no number has two homes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from whisper_npu_cli.engines.npu import numerics

HEADER = Path(__file__).parent / "kernels" / "coefficients.h"
Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def fit(function: Function, low: float, high: float, degree: int) -> NDArray[np.float32]:
    """Return the coefficients, lowest first, of a polynomial in x - centre of the interval.

    Least squares on 4001 Chebyshev nodes: within 10 % of the minimax error for these functions.
    """
    nodes = np.cos(np.pi * (np.arange(4001) + 0.5) / 4001) * (high - low) / 2
    values = function(nodes + (low + high) / 2)
    return np.polynomial.polynomial.polyfit(nodes, values, degree).astype(np.float32)


def log2_normal_tail(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log2(Phi(-t)): what the three pieces of GELU approximate."""
    tail: NDArray[np.float64] = log_ndtr(-t) / np.log(2)
    return tail


def make_header() -> str:
    """Return the text of coefficients.h."""
    rows = [
        "// Made by `python -m mlir.fit` from engines/npu/numerics.py: do not edit.",
        "#pragma once",
        "",
        _format_array("POWER", numerics.POWER),
        _format_array("EXP2", numerics.EXP2),
        f"constexpr float GELU_LIMIT = {_format_literal(numerics.GELU_LIMIT)};",
        _format_array("GELU_EDGES", numerics.GELU_EDGES),
        _format_array("GELU_CENTRES", numerics.GELU_CENTRES),
        f"constexpr float GELU[{len(numerics.GELU)}][{len(numerics.GELU[0])}] = {{",
        *(f"    {{{', '.join(map(_format_literal, piece))}}}," for piece in numerics.GELU),
        "};",
    ]
    return "\n".join(rows) + "\n"


def _format_array(name: str, values: tuple[float, ...]) -> str:
    return f"constexpr float {name}[{len(values)}] = {{{', '.join(map(_format_literal, values))}}};"


def _format_literal(value: float) -> str:
    return f"{np.float32(value).item().hex()}f"


if __name__ == "__main__":
    HEADER.write_text(make_header(), encoding="utf-8")
