"""Output files, each written as a whole or not at all."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from pathlib import Path
from time import time

from whisper_npu_cli.errors import OutputError

_TEMPORARY = re.compile(r"\.whisper-npu-[0-9a-f]{16}")
# A file is written in milliseconds; clocks of machines that share a folder differ by minutes.
_FORGOTTEN_S = 3600.0


def write_atomically(path: Path, text: str, *, hint: str) -> None:
    """Write `text` to `path` so that a reader finds the old or the new file, never a part.

    OutputError, with `hint`, where the file cannot be written.
    """
    temporary = path.with_name(f".whisper-npu-{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("x", encoding="utf-8") as file:
                file.write(text)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}", hint=hint
        ) from error


def remove_forgotten(folder: Path) -> None:
    """Remove from a folder what processes that were killed while they wrote have left there."""
    with suppress(OSError):  # another process was first, or it is another user's
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name) and time() - path.stat().st_mtime > _FORGOTTEN_S:
                path.unlink()
