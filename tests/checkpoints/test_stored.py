"""Tensors in files: little memory, alignment, parts with scales, and the key of a file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from whisper_npu_cli.checkpoints.safetensors import read_header, write_tensors
from whisper_npu_cli.checkpoints.stored import StoredTensor, StoredTensors, select_tensors
from whisper_npu_cli.errors import CheckpointError


def store(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_fp32_at_an_odd_offset_is_aligned(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = store(tmp_path / "x", b"x" + values.tobytes())
    found = StoredTensor(path, "F32", (2, 3), 1).read()
    assert found.flags.aligned
    np.testing.assert_array_equal(found, values)


def test_a_file_that_cannot_be_mapped_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = StoredTensor(store(tmp_path / "x", b"x" + values.tobytes()), "F32", (2, 3), 1)

    def refuse(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(np, "memmap", refuse)
    number = errno.ENODEV
    np.testing.assert_array_equal(tensor.read(), values)
    number = errno.ENOMEM
    with pytest.raises(OSError, match="refused"):
        tensor.read()


def test_rows_keep_their_scales(tmp_path: Path) -> None:
    scales = np.array([1, 2, 4, 8], np.float32)
    path = store(tmp_path / "x", scales.tobytes() + bytes([8] * 12))
    scale = StoredTensor(path, "F32", (4,), 0)
    whole = StoredTensor(path, "int8", (4, 3), 16, scale)
    np.testing.assert_array_equal(whole.rows(1, 3).read(), [[4, 4, 4], [2, 2, 2]])
    one = StoredTensor(path, "int8", (4, 3), 16, StoredTensor(path, "F32", (), 4))
    np.testing.assert_array_equal(one.rows(3, 4).read(), [[4, 4, 4]])


def test_a_row_is_whole_blocks(tmp_path: Path) -> None:
    assert StoredTensor(tmp_path, "Q8_0", (2, 64), 0).n_bytes == 4 * 34
    for shape in ((), (64, 2)):
        with pytest.raises(ValueError, match="in blocks of 32"):
            _ = StoredTensor(tmp_path, "Q8_0", shape, 0).n_bytes


@pytest.mark.parametrize(
    ("tensor", "phrase"),
    [
        ({}, r"x: missing tensor a, expected shape \(2,\)"),
        ({"a": StoredTensor(Path("y"), "F32", (3,), 0)}, r"y: tensor a: .* \(2,\), found \(3,\)"),
        ({"a": StoredTensor(Path("y"), "I8", (2,), 0)}, "y: tensor a: expected dtype .* found I8"),
    ],
)
def test_selected_tensors_have_shape_and_dtype(
    tensor: dict[str, StoredTensor], phrase: str
) -> None:
    with pytest.raises(CheckpointError, match=phrase):
        select_tensors(Path("x"), tensor, {"a": (2,)})


def test_identity_changes_with_the_weights_and_not_without(tmp_path: Path) -> None:
    """Even where the size stays the same and the time of modification is set back."""
    path = tmp_path / "x"
    write_tensors(path, {"x": np.zeros(4, np.float32)}, "F32")
    times = path.stat()
    before = StoredTensors(read_header(path)).identity
    assert StoredTensors(read_header(path)).identity == before
    write_tensors(path, {"x": np.ones(4, np.float32)}, "F32")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_mtime_ns == times.st_mtime_ns
    assert StoredTensors(read_header(path)).identity != before


def test_reading_tensor_by_tensor_keeps_little_in_memory(tmp_path: Path) -> None:
    tensors = {f"t{i}": np.zeros((256, 1024), np.float32) for i in range(64)}  # 1 MiB each
    write_tensors(tmp_path / "large", tensors, "F32")
    del tensors
    stored = read_header(tmp_path / "large")
    before = _resident_bytes()
    peak = 0
    for tensor in stored.values():
        array = tensor.read()
        assert array.sum() == 0  # touches every page
        peak = max(peak, _resident_bytes())
    # two tensors live at a time; 16 MiB is far above them and the allocator, far below the 64
    assert peak - before < 16 * 2**20


def _resident_bytes() -> int:
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return resident_pages * os.sysconf("SC_PAGE_SIZE")
