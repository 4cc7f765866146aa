"""A library that lets the n-th call of a kind fail, made of `shim.c` by the compiler."""

from __future__ import annotations

import errno
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

_COUNTERS_AT = 64
# In the order of `enum call`: what each may fail with. A thread that cannot start is EAGAIN.
CALLS: dict[str, tuple[int, ...]] = {
    "open": (errno.EMFILE, errno.EACCES, errno.EIO, errno.ENOSPC, errno.ENOMEM, errno.EINTR),
    "read": (errno.EIO, errno.EINTR),
    "write": (errno.ENOSPC, errno.EIO, errno.EINTR),
    "rename": (errno.ENOSPC, errno.EIO, errno.EACCES),
    "mkdir": (errno.ENOSPC, errno.EACCES),
    "unlink": (errno.EIO, errno.EACCES),
    "fsync": (errno.EIO, errno.ENOSPC),
    "mmap": (errno.ENOMEM,),
    "thread": (errno.EAGAIN,),
    "process": (errno.EAGAIN, errno.ENOMEM),
}


@dataclass(frozen=True)
class Fault:
    """The n-th of a kind of call, which fails, and all later ones if it is lasting."""

    call: str
    nth: int
    number: int  # errno
    is_lasting: bool

    def __str__(self) -> str:
        lasting = " and all later ones" if self.is_lasting else ""
        return f"{self.call} {self.nth}{lasting}: {errno.errorcode[self.number]}"

    def environment(self, shim: Path) -> dict[str, str]:
        """Return the variables that inject it."""
        return {
            "LD_PRELOAD": str(shim),
            "TORTURE_CALL": str(list(CALLS).index(self.call)),
            "TORTURE_NTH": str(self.nth),
            "TORTURE_ERRNO": str(self.number),
            "TORTURE_LASTING": str(int(self.is_lasting)),
        }


def build_shim(folder: Path) -> Path | None:
    """Compile the library; None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    path = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    flags = ["-O2", "-Wall", "-Wno-nonnull-compare", "-fPIC", "-shared"]
    subprocess.run([compiler, *flags, "-o", path, source, "-ldl"], check=True)
    return path


def read_counts(flag: Path) -> dict[str, int]:
    """Return how many calls of each kind a run has made since it began."""
    numbers = struct.unpack_from(f"{len(CALLS)}Q", flag.read_bytes(), _COUNTERS_AT)
    return dict(zip(CALLS, numbers, strict=True))
