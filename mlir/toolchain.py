"""Find the tools that build the overlay, or say everything that is missing at once."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOCK = Path(__file__).parent / "toolchain.lock"


class ToolchainError(Exception):
    """The overlay cannot be built here; the message says what to install."""


@dataclass(frozen=True)
class Toolchain:
    """Programs and versions."""

    aiecc: str
    peano: Path  # folder with bin/clang++
    include: Path  # folder with aie_api
    versions: dict[str, str]


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a file."""
    content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    return content


def find_toolchain() -> Toolchain:
    """Return the tools; ToolchainError names each one that is missing or of another version."""
    lock = read_toml(LOCK)
    problems = [*_wheel_problems(lock), *_program_problems()]
    if problems:
        raise ToolchainError(_explain(problems, lock))
    aiecc = shutil.which("aiecc")
    assert aiecc is not None
    return Toolchain(
        aiecc=aiecc,
        peano=_folder("llvm-aie", "bin/clang++"),
        include=_folder("mlir_aie", "include/aie_api/aie.hpp") / "include",
        versions={name: row["version"] for name, row in lock.items()},
    )


def _wheel_problems(lock: dict[str, Any]) -> list[str]:
    problems = []
    for row in lock.values():
        if "package" not in row:
            continue
        try:
            found = version(row["package"])
        except PackageNotFoundError:
            problems.append(f"{row['package']} is not installed")
            continue
        if found.split("+")[0] != row["version"]:
            problems.append(f"{row['package']} is {found}, the lock says {row['version']}")
    return problems


def _program_problems() -> list[str]:
    return [
        f"{program} is not on the PATH"
        for program in ("aiecc", "xclbinutil")
        if shutil.which(program) is None
    ]


def _explain(problems: list[str], lock: dict[str, Any]) -> str:
    wheels = [row for row in lock.values() if "package" in row]
    pins = [f"{row['package']}=={row['version']} -f {row['index']}" for row in wheels]
    return "\n".join(
        [
            f"the overlay cannot be built here: {'; '.join(problems)}",
            "install, into this Python (3.10 to 3.14, x86-64 Linux with glibc 2.35 or newer):",
            *(f"    pip install {pin}" for pin in pins),
            "    xclbinutil: apt install libxrt-utils (Debian trixie-backports, ppa:amd-team/xrt)",
            "or build in a container: docker build -t whisper-npu-build mlir; see docs/npu.md",
        ]
    )


def _folder(package: str, inside: str) -> Path:
    """Return the folder of a wheel that contains the file `inside`."""
    for file in files(package) or []:
        if str(file).endswith(inside):
            return Path(str(file.locate())).parents[inside.count("/")]
    raise ToolchainError(f"{package} has no {inside}: install it anew")
