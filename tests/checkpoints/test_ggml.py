"""whisper.cpp's files: what may differ among them, and damage."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.support.formats import DIMS, small_checkpoint, write_ggml
from whisper_npu_cli.checkpoints.ggml import load
from whisper_npu_cli.errors import CheckpointError

N_TEXTS_AT = 12 * 4 + 8 + 4 * 80 * 201  # behind the header and the mel filters
LAST_NAME = b"decoder.ln.bias"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("ggml") / "good.bin"
    write_ggml(path, small_checkpoint(), "Q8_0")
    return path.read_bytes()


def edit(good: bytes, offset: int, layout: str, *numbers: int) -> bytes:
    edited = bytearray(good)
    struct.pack_into(f"<{layout}", edited, offset, *numbers)
    return bytes(edited)


def test_vocabulary_may_have_special_tokens_too(good: bytes, tmp_path: Path) -> None:
    (n_texts,) = struct.unpack_from("<i", good, N_TEXTS_AT)
    end = good.index(struct.pack("<3i", 3, len(b"encoder.conv1.weight"), 1))  # the first tensor
    special = struct.pack("<i", 13) + b"<|endoftext|>"
    longer = edit(good, N_TEXTS_AT, "i", n_texts + 1)
    (tmp_path / "x").write_bytes(longer[:end] + special + longer[end:])
    assert load(tmp_path / "x").dims == DIMS


@pytest.mark.parametrize(
    ("offset", "numbers", "phrase"),
    [
        (0, (1,), "no magic of ggml"),
        (4, (51900,), "51900 ids, as no vocabulary"),
        (4, (51865,), "its vocabulary is none of OpenAI's"),
        (8, (1501,), "expected 1500 for n_audio_ctx, found 1501"),
        (20, (2**31 - 1,), "layers, but only"),
        (44, (1008,), "quantized in version 1, expected 2"),
        (48, (-1,), "-1 mel filters"),
        (48, (2**31 - 1, 2**31 - 1), "damaged or truncated"),
        (N_TEXTS_AT, (3,), "its vocabulary is none of OpenAI's"),
        (N_TEXTS_AT, (2**31 - 1,), "damaged or truncated"),
        (N_TEXTS_AT + 8, (0,), "its vocabulary is none of OpenAI's"),
        (-4 * 32 - len(LAST_NAME) - 16, (4,), "a tensor of 4 dimensions and type 0"),
        (-4 * 32 - len(LAST_NAME) - 8, (7777,), "a tensor of 1 dimensions and type 7777"),
        (-4 * 32 - len(LAST_NAME) - 4, (33,), "132 bytes expected at"),
        (-4 * 32 - len(LAST_NAME) - 4, (-1,), "-4 bytes expected at"),
        (-4 * 32 - len(LAST_NAME), (0,), r"missing tensor model.decoder.layer_norm.bias"),
    ],
)
def test_damage_is_one_clear_error(
    good: bytes, offset: int, numbers: tuple[int, ...], phrase: str, tmp_path: Path
) -> None:
    edited = edit(good, offset % len(good), f"{len(numbers)}i", *numbers)
    (tmp_path / "x").write_bytes(edited)
    with pytest.raises(CheckpointError, match=phrase) as caught:
        load(tmp_path / "x")
    assert str(tmp_path / "x") in str(caught.value)


def test_truncated_file(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(good[:-1])
    with pytest.raises(CheckpointError, match="128 bytes expected at"):
        load(tmp_path / "x")
