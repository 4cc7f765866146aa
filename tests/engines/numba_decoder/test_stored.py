"""The stored decoder: the same weights, and never a damaged file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.tiny_model import TINY_DIMS, TINY_SEED
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.engines.numba_decoder import quantize, stored


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return random_checkpoint(TINY_DIMS, TINY_SEED)


def assert_same(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, tuple):
            assert_same(one, other)
        else:
            np.testing.assert_array_equal(one, other)
            assert getattr(one, "dtype", None) == getattr(other, "dtype", None)


def list_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_is_read_is_what_was_stored(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = stored.load_quantized(checkpoint)
    assert len(list_files(tmp_path)) == 1
    monkeypatch.delattr(quantize, "quantize_decoder")  # so that it is not done again
    found = stored.load_quantized(checkpoint)
    assert_same(found, expected)
    assert all(array.flags.writeable for array in found.fc1[:4])  # another type for numba if not


@pytest.mark.parametrize("at", [0, 1000, -1])
def test_a_damaged_file_is_told_and_stored_again(
    checkpoint: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture, at: int
) -> None:
    expected = stored.load_quantized(checkpoint)
    (path,) = list_files(tmp_path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:at] + bytes([whole[at] ^ 1]) + whole[at:][1:]):
        path.write_bytes(damaged)
        assert_same(stored.load_quantized(checkpoint), expected)
        assert path.read_bytes() == whole
        assert f"{path}: damaged" in caplog.text
        caplog.clear()


def test_a_folder_that_cannot_be_written_is_no_error(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (tmp_path / "whisper-npu").touch()
    assert stored.load_quantized(checkpoint).fc1.with_gelu
