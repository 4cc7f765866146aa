"""Numbers, strings and stretches of a binary file in turn, never beyond its end."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from whisper_npu_cli.checkpoints.stored import GET_AGAIN
from whisper_npu_cli.errors import CheckpointError


class Cursor:
    """A place in a little-endian file; CheckpointError where the file ends too soon."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.offset = 0
        self.n_bytes = path.stat().st_size
        self._file = file

    def unpack(self, layout: str) -> tuple[Any, ...]:
        """Return the numbers of `layout`, in `struct`'s letters."""
        return struct.unpack(f"<{layout}", self.read(struct.calcsize(f"<{layout}")))

    def read(self, n_bytes: int) -> bytes:
        """Return the next bytes."""
        self._file.seek(self.skip(n_bytes))
        return self._file.read(n_bytes)

    def skip(self, n_bytes: int) -> int:
        """Go behind the next bytes and return where they begin."""
        begin = self.offset
        if not 0 <= n_bytes <= self.n_bytes - begin:
            raise self.explain(f"{n_bytes} bytes expected at {begin}, of {self.n_bytes} in all")
        self.offset += n_bytes
        return begin

    def explain(self, reason: str) -> CheckpointError:
        """Return the error for a damaged file."""
        return CheckpointError(f"{self.path}: damaged or truncated: {reason}", hint=GET_AGAIN)


def open_unnoticed(path: Path) -> IO[bytes]:
    """Open a file without a trace in the time of its last use, where that is possible."""

    def opener(name: str, flags: int) -> int:
        try:
            return os.open(name, flags | getattr(os, "O_NOATIME", 0))
        except PermissionError:  # it is another user's
            return os.open(name, flags)

    return open(path, "rb", opener=opener)


@contextmanager
def open_cursor(path: Path) -> Iterator[Cursor]:
    """Open `path` for the enclosed block; CheckpointError where that cannot be."""
    try:
        with path.open("rb") as file:
            yield Cursor(path, file)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
