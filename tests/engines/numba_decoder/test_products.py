"""Products of packed matrices against NumPy's, to the bit, as code for several kinds of CPU."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import types

from whisper_npu_cli.engines.numba_decoder.calls import load
from whisper_npu_cli.engines.numba_decoder.compiling import kernel
from whisper_npu_cli.engines.numba_decoder.kinds import F32, I8, I16
from whisper_npu_cli.engines.numba_decoder.packing import LANES, pack
from whisper_npu_cli.engines.numba_decoder.products import MAX_TILE, multiply

# Numbers of rows of x: each tile, and several of them
SIZES = [*range(1, MAX_TILE + 1), MAX_TILE + 1, 2 * MAX_TILE + 3]


@kernel(I8[3], types.int64, I16[2], F32[2])
def multiply_blocks(first, arguments):  # type: ignore[no-untyped-def]
    packed, last, x, out = load(arguments)
    multiply(packed, first, last, x, out)


def check_all_tiles() -> None:
    """Raise AssertionError unless every product is that of NumPy."""
    rng = np.random.default_rng(0)
    n_out, n_in = 2 * LANES + 5, 24
    weight = rng.integers(-127, 128, (n_out, n_in), np.int8)
    packed = pack(weight)
    for n_x in SIZES:
        x = rng.integers(-32767, 32768, (n_x, n_in), np.int16)
        out = np.full((n_x, n_out), np.float32(-1))
        multiply_blocks(1, packed, len(packed), x, out)
        expected = (x.astype(np.int64) @ weight.T.astype(np.int64)).astype(np.float32)
        np.testing.assert_array_equal(out[:, LANES:], expected[:, LANES:])
        assert (out[:, :LANES] == -1).all()  # block 0 was not asked for, nor the next row touched


def test_every_tile_and_the_last_outputs() -> None:
    check_all_tiles()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are kinds of x86-64")
@pytest.mark.parametrize(
    ("cpu", "features"), [("haswell", "+avx2,+fma"), ("x86-64", "+sse4.1"), ("x86-64", "")]
)
def test_cpus_of_another_kind(cpu: str, features: str, tmp_path: Path) -> None:
    """Code for smaller registers, compiled in a process of its own."""
    variables = {
        "NUMBA_CPU_NAME": cpu,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    subprocess.run(
        [sys.executable, "-c", f"from {__name__} import check_all_tiles; check_all_tiles()"],
        env=os.environ | variables,
        check=True,
        timeout=300,
    )
