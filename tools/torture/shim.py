"""A library that lets the n-th call of a kind fail, made of `shim.c` by the compiler."""

from __future__ import annotations

import errno
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

NO_COMPILER = "not tried: there is no compiler called cc"
_FAULT_AT, _FAULT = 8, "iiqQ"  # as in `struct page`
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

    def arm(self, flag: Path) -> None:
        """Inject it into the run with this page."""
        call = list(CALLS).index(self.call) + 1
        _write(flag, struct.pack(_FAULT, call, self.number, self.is_lasting, self.nth))


def disarm(flag: Path) -> None:
    """Let no call fail any more."""
    _write(flag, bytes(struct.calcsize(_FAULT)))


def _write(flag: Path, content: bytes) -> None:
    with flag.open("r+b") as file:
        file.seek(_FAULT_AT)
        file.write(content)


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
