"""What engines make of a model once and keep on disk: whole or not at all, checked, not for ever.

Each engine has a shelf for its files. A file ends in a checksum of what is before it.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import IO

from whisper_npu_cli import __version__
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.environment import find_cache_folder

CHECKSUM_BYTES = 4  # of a CRC-32
_MAX_NAME = 50  # characters of a model's name in the file's, of at most 4 bytes each
UNUSED_DAYS = 30  # a file unused for so long is deleted; it is as large as weights


@dataclass(frozen=True)
class Shelf:
    """The files of one engine: a folder's name and the end of the files' names."""

    name: str
    suffix: str

    def list_files(self) -> list[tuple[str, Path]]:
        """Return what is stored: what the model was called, and the file.

        Its time of modification is that of the last use. A program that has it open keeps it when
        it is deleted.
        """
        paths = _list_folder(self._find_folder())
        return [
            (path.name.rpartition("-")[0], path) for path in paths if path.suffix == self.suffix
        ]

    def find_path(self, checkpoint: Checkpoint, *parts: object) -> Path | None:
        """Return where the file of a model is or would be, or None where that is not possible.

        The name, but for the model's at its beginning, changes with anything that the content
        depends on: `parts`, the weights or the version of this package.
        """
        identity, folder = checkpoint.identity, self._find_folder()
        if identity is None or folder is None:
            return None
        key = hashlib.sha256(repr((__version__, identity, *parts)).encode()).hexdigest()[:32]
        name = f"{key}{self.suffix}"
        # The model's name is for people, and equal weights may have several.
        stored = (path for path in _list_folder(folder) if path.name.endswith(f"-{name}"))
        return next(stored, None) or folder / f"{Path(checkpoint.name).name[:_MAX_NAME]}-{name}"

    def _find_folder(self) -> Path | None:
        """Return where the files are; None for a user who has no home."""
        folder = find_cache_folder()
        return folder and folder / "whisper-npu" / self.name


def store(path: Path, write: Callable[[IO[bytes]], None]) -> bool:
    """Write `path` as a whole or not at all, and its checksum; return whether that worked."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            try:
                write(file)
                file.flush()
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
                    checksum = zlib.crc32(pages)
                file.seek(0, os.SEEK_END)
                file.write(checksum.to_bytes(CHECKSUM_BYTES, "little"))
                file.flush()
                os.fsync(file.fileno())  # before it is named: a power cut must not empty it
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink()
                raise
    except (OSError, RuntimeError):  # a full disk, a folder that cannot be written
        return False
    return True


def check(content: memoryview) -> memoryview:
    """Return what is before the checksum of a file; ValueError where it is damaged.

    This takes 0.4 s for 1 GB.
    """
    stored = content[:-CHECKSUM_BYTES]
    if zlib.crc32(stored) != int.from_bytes(content[-CHECKSUM_BYTES:], "little"):
        raise ValueError("damaged")
    return stored


def tell_damaged(path: Path) -> None:
    """Log that a stored file is damaged, which Python prints where nobody has set up logging."""
    logging.getLogger(__name__).warning("warning: %s: damaged, and made anew", path)


def mark_used(path: Path) -> None:
    """Note that `path` is used now, and delete what lies beside it and was not used for long."""
    for other in _list_folder(path.parent):
        with suppress(OSError):  # another process was first, or it is another user's
            if other == path:
                os.utime(path)
            elif time() - other.stat().st_mtime > UNUSED_DAYS * 24 * 3600:
                other.unlink()


def _list_folder(folder: Path | None) -> list[Path]:
    with suppress(OSError):  # no folder yet, or one that cannot be read
        return sorted(folder.iterdir()) if folder else []
    return []
