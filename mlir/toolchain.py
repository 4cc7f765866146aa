"""Find the tools that build the overlay, or say everything that is missing at once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from importlib.util import find_spec
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
    options: frozenset[str]  # of aiecc, which other releases spell otherwise or lack


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a file."""
    content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    return content


def find_toolchain() -> Toolchain:
    """Return the tools; ToolchainError names each one that is missing or of another version."""
    lock = read_toml(LOCK)
    problems = _wheel_problems(lock)
    if shutil.which("xclbinutil") is None:
        problems.append("xclbinutil is not on the PATH")
    if problems:
        raise ToolchainError(_explain(problems, lock))
    aiecc = str(_file("mlir_aie", "bin/aiecc"))
    return Toolchain(
        aiecc=aiecc,
        peano=_file("llvm-aie", "bin/clang++").parents[1],
        include=_file("mlir_aie", "include/aie_api/aie.hpp").parents[1],
        versions={name: _find_version(row) for name, row in lock.items()},
        options=list_options(aiecc),
    )


def list_options(program: str) -> frozenset[str]:
    """Return the options that a program built on LLVM names in its help."""
    command = [program, "--help-hidden"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return frozenset(re.findall(r"^\s*(--[\w-]+)", ended.stdout, re.MULTILINE))


def find_aie_opt() -> Path:
    """Return mlir-aie's optimiser, which needs neither Peano nor XRT; ToolchainError without it."""
    lock = read_toml(LOCK)
    problems = _wheel_problems({"mlir-aie": lock["mlir-aie"]})
    if problems:
        raise ToolchainError(_explain(problems, lock))
    return _file("mlir_aie", "bin/aie-opt")


def _wheel_problems(lock: dict[str, Any]) -> list[str]:
    problems = []
    for row in lock.values():
        if "package" not in row:
            continue
        try:
            found = _find_version(row)
        except PackageNotFoundError:
            problems.append(f"{row['package']} is not installed")
            continue
        if not found.startswith(tuple(row["accepts"])):
            problems.append(f"{row['package']} is {found}, the lock says {row['version']}")
        build = found.rpartition(".")[2]
        problems += [
            f"{row['package']} {found} {why}"
            for first, end, why in row.get("refuses", [])
            if first <= build < end
        ]
    return problems


def _find_version(row: dict[str, Any]) -> str:
    """Return the installed version of a package, the wanted one of a program."""
    return version(row["package"]).split("+")[0] if "package" in row else str(row["version"])


def _explain(problems: list[str], lock: dict[str, Any]) -> str:
    wheels = [row for row in lock.values() if "package" in row]
    pins = [f"{row['package']}=={row['version']} -f {row['index']}" for row in wheels]
    return "\n".join(
        [
            f"the overlay cannot be built here: {'; '.join(problems)}",
            "install, into this Python (3.11 to 3.14, x86-64 Linux with glibc 2.35 or newer):",
            *(f"    {_choose_installer()} {pin}" for pin in pins),
            "    xclbinutil: apt install libxrt-utils (Debian trixie-backports, ppa:amd-team/xrt)",
            "or, from a checkout, in a container: docker build -t whisper-npu-build mlir",
            "`whisper-npu help npu` tells more",
        ]
    )


def _choose_installer() -> str:
    """Return the command that installs into this Python, in which uv puts no pip."""
    if find_spec("pip"):
        return f"{sys.executable} -m pip install"
    return f"uv pip install --python {sys.executable}"


def _file(package: str, inside: str) -> Path:
    """Return the file of a wheel whose path ends in `inside`."""
    for file in files(package) or []:
        if f"/{file}".endswith(f"/{inside}"):
            return Path(str(file.locate()))
    raise ToolchainError(f"{package} has no {inside}: install it anew")
