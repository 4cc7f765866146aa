"""Output files, each written as a whole or not at all."""

from __future__ import annotations

import secrets
from pathlib import Path

from whisper_npu_cli.errors import OutputError


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
