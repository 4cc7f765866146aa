"""Output files, each written as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from whisper_npu_cli.errors import OutputError


def write_atomically(path: Path, text: str, *, hint: str) -> None:
    """Write `text` to `path` so that a reader finds the old or the new file, never a part.

    OutputError, with `hint`, where the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).chmod(0o666 & ~_umask())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}", hint=hint
        ) from error


def _umask() -> int:
    """Return the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
