"""Numbers of a binary file: little endian, and never from beyond its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_npu_cli.checkpoints.binary import open_cursor
from whisper_npu_cli.errors import CheckpointError


def test_cursor_goes_on_behind_what_was_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\1\0\0\0abcdef")
    with open_cursor(tmp_path / "x") as cursor:
        assert cursor.unpack("I") == (1,)
        assert cursor.skip(2) == 4
        assert cursor.read(3) == b"cde"
        assert cursor.offset == 9
        for n_bytes in (2, 2**62, -1):
            with pytest.raises(CheckpointError, match=f"{n_bytes} bytes expected at 9, of 10"):
                cursor.read(n_bytes)


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match="x: cannot be read: No such file"),
        open_cursor(tmp_path / "x"),
    ):
        pass
