"""One model in every format: equal tensors, and each format told by its content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.formats import (
    DIMS,
    small_checkpoint,
    write_ctranslate2,
    write_ggml,
    write_openai,
    write_state,
)
from whisper_npu_cli.checkpoints import formats
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.huggingface import PYTORCH_FILE, WEIGHTS_FILE
from whisper_npu_cli.checkpoints.save import save_checkpoint
from whisper_npu_cli.errors import CheckpointError

SOURCE = small_checkpoint()


def write_hugging_face(path: Path, checkpoint: Checkpoint, dtype: str) -> None:
    save_checkpoint(checkpoint, path, dtype)


def write_pytorch(path: Path, checkpoint: Checkpoint, dtype: str) -> None:
    """Write a folder of Hugging Face from before safetensors."""
    save_checkpoint(checkpoint, path, "F16")
    (path / WEIGHTS_FILE).unlink()
    write_state(path / PYTORCH_FILE, checkpoint, dtype, rename=str, dims=False)


Writer = Callable[[Path, Checkpoint, str], None]
WRITERS: list[tuple[Writer, str, list[str]]] = [
    (write_hugging_face, formats.HUGGING_FACE, ["F32", "F16", "BF16"]),
    (write_pytorch, formats.HUGGING_FACE, ["F32", "F16", "BF16"]),
    (write_openai, formats.OPENAI, ["F32", "F16", "BF16"]),
    (write_ctranslate2, formats.CTRANSLATE2, ["F32", "F16", "BF16", "int8", "int16"]),
    (write_ggml, formats.GGML, ["F32", "F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"]),
]
# The largest error of a number, as a part of the largest that shares its scale. Of floats half a
# unit in the last place, or a whole one where bits are cut off. Of quantized numbers half a step,
# and the scale's rounding to fp16 (2^-11): there are 127, 1024, 15 or 7 steps to one side, or 31 or
# 15 across twice the range, of which the minimum is rounded to fp16 too.
ERRORS = {
    "F32": 0.0,
    "F16": 2**-11,
    "BF16": 2**-7,
    "int8": 0.5 / 127 + 2**-20,  # the scale is fp32
    "int16": 1 / 1024,  # the scale is that of queries, keys and values together: at most twice
    "Q8_0": 0.5 / 127 + 2**-11,
    "Q5_1": 1 / 31 + 2 * 2**-11,
    "Q5_0": 0.5 / 15 + 2**-11,
    "Q4_1": 1 / 15 + 2 * 2**-11,
    "Q4_0": 0.5 / 7 + 2**-11,
}


def bound(values: NDArray[np.float32], dtype: str) -> NDArray[np.float32]:
    """Return how far numbers read back may be from `values`, as an array that broadcasts to them.

    A scale is that of a block of 32 within a row, of a row or kernel, or of the whole tensor.
    """
    axes = {"int8": tuple(range(1, values.ndim)), "int16": None}.get(dtype, (-1,))
    largest = np.abs(values).max(axis=axes if values.ndim > 1 else None, keepdims=True)
    return np.asarray(ERRORS[dtype] * largest + 2**-24)  # fp16's steps below 2^-14


@pytest.mark.parametrize(
    ("write", "format_", "dtype"),
    [(write, format_, dtype) for write, format_, dtypes in WRITERS for dtype in dtypes],
)
def test_every_format_holds_the_same_model(
    write: Writer, format_: str, dtype: str, tmp_path: Path
) -> None:
    path = tmp_path / "no-name-tells.it"
    write(path, SOURCE, dtype)
    assert formats.tell_format(path) == format_
    checkpoint = formats.load(path)
    assert (checkpoint.dims, checkpoint.generation) == (DIMS, SOURCE.generation)
    assert (checkpoint.name, checkpoint.path) == (path.name, path)
    assert checkpoint.identity == formats.load(path).identity
    assert checkpoint.tokenizer().encode(" Hello") == SOURCE.tokenizer().encode(" Hello")
    assert set(checkpoint.tensors) == set(SOURCE.tensors)
    for name, expected in SOURCE.tensors.items():
        found = checkpoint.array(name)
        assert (found.dtype, found.shape) == (np.float32, expected.shape)
        assert found.flags.writeable
        assert found.flags.aligned
        assert np.all(np.abs(found - expected) <= bound(expected, dtype)), name


def test_weights_of_a_folder_may_be_named_by_their_file(tmp_path: Path) -> None:
    write_ctranslate2(tmp_path, SOURCE)
    assert formats.load(tmp_path / "model.bin").dims == DIMS


def test_folder_with_two_formats_is_read_as_hugging_face(tmp_path: Path) -> None:
    write_ctranslate2(tmp_path, SOURCE)
    save_checkpoint(SOURCE, tmp_path)
    assert formats.tell_format(tmp_path) == formats.HUGGING_FACE


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00", b"GGUF\3\0\0\0", b"RIFF0000WAVE"])
def test_file_of_no_format(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pt is no checkpoint of a format") as caught:
        formats.load(tmp_path / "x.pt")
    assert "openai-whisper" in (caught.value.hint or "")


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        formats.load(tmp_path / "absent.pt")


def test_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)  # the tests may run as root, who reads everything
    with pytest.raises(CheckpointError, match=f"{tmp_path}: cannot be read: Permission denied"):
        formats.load(tmp_path)


@pytest.mark.parametrize("is_folder", [True, False])
def test_what_stands_for_weights_is_told(tmp_path: Path, is_folder: bool) -> None:
    folder = tmp_path / "model"
    save_checkpoint(SOURCE, folder, "F16")
    weights = folder / WEIGHTS_FILE
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(CheckpointError, match="a pointer of Git LFS"):
        formats.load(folder if is_folder else weights)
    weights.unlink()
    weights.symlink_to(tmp_path / "gone")
    with pytest.raises(CheckpointError, match=f"a link to {tmp_path}/gone, which is not there"):
        formats.load(folder if is_folder else weights)
