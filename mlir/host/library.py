"""Compile the kernels with g++ and call them on NumPy arrays: sources -> functions.

The library is built once per content of its sources into `build/host` of the checkout.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.errors import OverlayError

MLIR = Path(__file__).parents[1]
CACHE = MLIR.parent / "build" / "host"
FLAGS = (
    "-std=c++20",
    "-O3",
    "-march=native",
    "-ffp-contract=off",
)  # fused operations would give other bits
WARNINGS = ("-Wall", "-Wextra", "-Werror")
SHARED = ("-shared", "-fPIC")
SLOTS = ("vector", "load", "store", "move", "matrix")  # order of host::Slot
HINT = "the kernels need g++ 12 or newer: apt install g++"


class KernelLibrary:
    """The compiled kernels; every access of a call is checked against its arrays."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._begins = np.zeros(8, np.uintp)
        self._sizes = np.zeros(8, np.uint64)
        self._where = self._begins.ctypes.data, self._sizes.ctypes.data
        self._begin = self._library.host_begin
        self._begin.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint]
        self._library.host_round.argtypes = [ctypes.c_float, ctypes.c_int]
        self._library.host_round.restype = ctypes.c_uint16

    def call(self, name: str, *arguments: NDArray[Any] | int) -> None:
        """Call kernel `name`; a misaligned or outside access ends the process with its line."""
        values: list[Any] = []
        n_arrays = 0
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                address = argument.ctypes.data
                self._begins[n_arrays], self._sizes[n_arrays] = address, argument.nbytes
                n_arrays += 1
                values.append(ctypes.c_void_p(address))
            else:
                values.append(ctypes.c_int32(argument))
        self._begin(*self._where, n_arrays)
        getattr(self._library, name)(*values)

    def read_counts(self) -> dict[str, int]:
        """Return how often the last call used each slot of a bundle."""
        out = np.zeros(len(SLOTS), np.uint64)
        self._library.host_counts(ctypes.c_void_p(out.ctypes.data))
        return {slot: int(n) for slot, n in zip(SLOTS, out, strict=True)}

    def round_bf16(self, value: float, mode: int) -> int:
        """Return the bits of fp32 `value` as bf16 in rounding mode 0 to 3 of `aie_api`."""
        return int(self._library.host_round(value, mode))


@cache
def load() -> KernelLibrary:
    """Compile the kernels if their sources changed, and load them."""
    sources = [MLIR / "host" / "host.cc", *sorted((MLIR / "kernels").glob("*.cc"))]
    return KernelLibrary(compile_library(sources))


def compile_library(sources: list[Path]) -> Path:
    """Return the shared library of `sources`; OverlayError where g++ is absent or fails."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise OverlayError("g++ not found", hint=HINT)
    flags = [*FLAGS, *WARNINGS, *SHARED]
    headers = [*(MLIR / "host").rglob("*.hpp"), *(MLIR / "kernels").glob("*.h*")]
    digest = hashlib.sha256(" ".join(flags).encode())
    for file in sorted({*sources, *headers}):
        digest.update(file.read_bytes())
    library = CACHE / f"kernels-{digest.hexdigest()[:16]}.so"
    if not library.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = library.with_suffix(".part")
        folders = [f"-I{MLIR / 'host'}", f"-I{MLIR / 'kernels'}"]
        command = [compiler, *flags, *folders, *map(str, sources), "-o", str(part)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise OverlayError(f"g++ failed: {result.stderr}", hint=HINT)
        part.rename(library)
    return library
