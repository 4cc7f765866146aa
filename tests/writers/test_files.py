from __future__ import annotations

import os
from pathlib import Path
from time import time

import pytest

from whisper_npu_cli.errors import OutputError
from whisper_npu_cli.writers import remove_forgotten, write_atomically


def test_output_replaces_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "clip.txt"
    write_atomically(path, "old", hint="")
    write_atomically(path, "new", hint="")
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["clip.txt"]


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.txt"
    write_atomically(path, "old", hint="")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OutputError, match=r"clip\.txt: cannot be written: No space left"):
        write_atomically(path, "new", hint="")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["clip.txt"]


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/clip\.txt: cannot be written") as caught:
        write_atomically(tmp_path / "file" / "clip.txt", "text", hint="another")
    assert caught.value.hint == "another"


def test_what_a_killed_process_left_goes_after_an_hour(tmp_path: Path) -> None:
    names = [f".whisper-npu-{16 * 'a'}", f".whisper-npu-{16 * 'b'}", ".whisper-npu-notes", "a.txt"]
    for name in names:
        (tmp_path / name).write_text("half")
    for name in (names[0], *names[2:]):
        os.utime(tmp_path / name, (0, time() - 4000))
    remove_forgotten(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names[1:]}
    remove_forgotten(tmp_path / "none")
