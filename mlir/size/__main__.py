"""Estimate the program memory of a core: `python -m mlir.size` (needs a clang with Hexagon).

The kernels are compiled for Hexagon, on an `aie_api` whose operations are as many opaque
instructions as AIE2 needs; so inlining, unrolling, addresses and spills are LLVM's. AIE2 has no
interlocks: Peano fills latencies with other iterations, whose code comes before and after the loop
once more, or with NOPs. Two figures for that, from the one listing of such a kernel by Peano that
was found (llvm-aie's test TanhTemplated-swp.ll):

* PIPELINED: it has about 590 bytes, counted by its slots, and 232 here.
* FOR_SIZE: of the 36 bundles of its straight part, 10 are NOPs, of 2 bytes.

What the core itself does was 368 LLVM instructions when its design was lowered, with 98 calls;
`spectrum` has since added 15, and `layernorm` in another form has 25 less. Error: a third, as one
listing stands for all kernels. The build counts what Peano makes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from mlir.build import COMPILE, PROGRAM_BYTES

MLIR = Path(__file__).parents[1]
PIPELINED = 2.5
FOR_SIZE = 1.25
CORE_BYTES = (368 + 56 - 94) * 6  # a slot and its share of delay slots and of constants (inferred)
HEXAGON = ("--target=hexagon-unknown-elf", "-mcpu=hexagonv68", "-mhvx", "-mhvx-length=64b")
OPTIMISE = tuple(flag for flag in COMPILE if flag.startswith(("-O", "-std", "-D", "-fno-unroll")))


@cache
def find_clang() -> str | None:
    """Return a clang that compiles for Hexagon; None where there is none."""
    for name in ("clang++", *(f"clang++-{version}" for version in range(22, 13, -1))):
        path = shutil.which(name)
        if path:
            targets = subprocess.run(
                [path, "--print-targets"], capture_output=True, text=True, check=True
            )
            if " hexagon " in targets.stdout:
                return path
    return None


def measure(clang: str) -> dict[str, int]:
    """Return the bytes of every function in the kernels' code for Hexagon."""
    sizes: dict[str, int] = {}
    folders = [f"-I{MLIR / 'size'}", f"-I{MLIR / 'kernels'}"]
    with TemporaryDirectory() as folder:
        for source in sorted((MLIR / "kernels").glob("*.cc")):
            out = f"{folder}/{source.stem}.o"
            command = [clang, *HEXAGON, *OPTIMISE, "-ffreestanding", *folders, "-c", str(source)]
            subprocess.run([*command, "-o", out], check=True)
            symbols = subprocess.run(["nm", "-S", out], capture_output=True, text=True, check=True)
            for row in symbols.stdout.splitlines():
                match re.split(" +", row):
                    case [_, size, kind, name] if kind in "TtWw":
                        sizes[name] = int(size, 16)
    return sizes


def find_cold() -> set[str]:
    """Return the kernels that are compiled for size."""
    sources = (path.read_text(encoding="utf-8") for path in (MLIR / "kernels").glob("*.cc"))
    return {name for text in sources for name in re.findall(r"\[\[gnu::cold\]\] void (\w+)", text)}


def estimate(sizes: dict[str, int]) -> dict[str, int]:
    """Return the bytes that each function may take on AIE2, and the core's own program."""
    cold = find_cold()
    factors = {name: FOR_SIZE if name in cold else PIPELINED for name in sizes}
    return {name: round(size * factors[name]) for name, size in sizes.items()} | {
        "core": CORE_BYTES
    }


def main() -> int:
    """Print the estimate; return the exit status."""
    clang = find_clang()
    if clang is None:
        print("error: no clang with Hexagon: apt install clang", file=sys.stderr)
        return 2
    sizes = measure(clang)
    rows = estimate(sizes)
    print(f"{'function':20} {'Hexagon':>8} {'AIE2, estimated':>16}")
    for name, size in sorted(rows.items(), key=lambda row: -row[1]):
        print(f"{name:20} {sizes.get(name, 0) or '':>8} {size:16}")
    print(f"{'of ' + str(PROGRAM_BYTES):20} {sum(sizes.values()):8} {sum(rows.values()):16}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
