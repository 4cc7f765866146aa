"""What the kernels take of program memory, by the code that LLVM makes for Hexagon."""

from __future__ import annotations

import pytest

from mlir.build import PROGRAM_BYTES
from mlir.simulate.run import load_design
from mlir.size.__main__ import estimate, find_clang, find_cold, measure


def test_what_runs_seldom_is_compiled_for_size() -> None:
    hot = {"multiply_tile", "softmax_tile", "gelu_tile", "add_rows", "normalise_rows"}
    assert find_cold()
    assert not find_cold() & hot


@pytest.mark.skipif(find_clang() is None, reason="no clang that compiles for Hexagon")
def test_the_kernels_fit_a_core() -> None:
    clang = find_clang()
    assert clang is not None
    sizes = measure(clang)
    assert set(sizes) == set(load_design().KERNELS)  # nothing is called: see tile.hpp
    assert sum(estimate(sizes).values()) <= PROGRAM_BYTES
