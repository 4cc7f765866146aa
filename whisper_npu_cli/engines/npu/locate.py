"""Find the pyxrt extension module that fits this interpreter, without importing it.

XRT's packages install it for the distribution's Python only, outside every virtual environment.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

DIRECTORIES = (
    "usr/lib/python3/dist-packages",  # Debian and Ubuntu
    "usr/lib/python3.*/site-packages",  # Arch
    "usr/lib64/python3.*/site-packages",  # Fedora
    "usr/local/lib/python3.*/dist-packages",
    "opt/xilinx/xrt/python",  # built from source
)
TAG = re.compile(r"\.cpython-3(\d+)[a-z]*-")


@dataclass(frozen=True)
class PyxrtFile:
    """A pyxrt module on disk and the Python that it was built for."""

    path: Path
    minor: int | None  # 12 for Python 3.12; None where the name does not tell

    def fits(self, minor: int) -> bool:
        """Say whether Python 3.`minor` can import it, as far as its name tells."""
        return self.minor in (None, minor)


def find_pyxrt(root: Path = Path("/"), minor: int = sys.version_info.minor) -> list[PyxrtFile]:
    """Return the pyxrt modules under `root`, those that fit Python 3.`minor` first."""
    paths = [path for place in DIRECTORIES for path in sorted(root.glob(f"{place}/pyxrt*.so"))]
    found = [PyxrtFile(path, _find_minor(path)) for path in paths]
    return sorted(found, key=lambda file: not file.fits(minor))


def _find_minor(path: Path) -> int | None:
    match = TAG.search(path.name) or re.search(r"python3\.(\d+)", str(path.parent))
    return int(match.group(1)) if match else None
