"""openai-whisper's files: what they must hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.formats import DIMS, dict_of, small_checkpoint, whole, write_archive
from whisper_npu_cli.checkpoints.checkpoint import expected_shapes
from whisper_npu_cli.checkpoints.openai import build_checkpoint, load, openai_name
from whisper_npu_cli.checkpoints.stored import StoredTensor
from whisper_npu_cli.errors import CheckpointError

NUMBERS = {field: whole(value) for field, value in vars(DIMS).items()}


def write(path: Path, **parts: bytes) -> Path:
    """Write a file with these parts, and dimensions without any tensor where one is missing."""
    write_archive(path, dict_of({"dims": dict_of(NUMBERS), "model_state_dict": b"}"} | parts), {})
    return path


def test_names_are_those_of_openai() -> None:
    names = {openai_name(name) for name in small_checkpoint().tensors}
    assert {
        "encoder.conv1.weight",
        "encoder.positional_embedding",
        "encoder.blocks.0.attn.query.weight",
        "encoder.blocks.0.mlp.2.bias",
        "encoder.ln_post.weight",
        "decoder.token_embedding.weight",
        "decoder.positional_embedding",
        "decoder.blocks.1.cross_attn.out.bias",
        "decoder.blocks.1.cross_attn_ln.weight",
        "decoder.blocks.1.mlp_ln.bias",
        "decoder.ln.bias",
    } <= names
    assert not any("model" in name or "layer" in name for name in names)


@pytest.mark.parametrize(
    ("parts", "phrase"),
    [
        ({"dims": b"}"}, "dims are none of openai-whisper's"),
        ({"dims": whole(1)}, "dims are none of openai-whisper's"),
        ({"model_state_dict": whole(1)}, "expected tensors by name, found int"),
        ({}, "3 layers, but only 0 tensors"),
        ({"dims": dict_of(NUMBERS | {"n_mels": whole(-1)})}, "for n_mels, found -1"),
        ({"dims": dict_of(NUMBERS | {"n_mels": b"}"})}, "for n_mels, found {}"),
        ({"dims": dict_of(NUMBERS | {"n_audio_ctx": whole(7)})}, "1500 for n_audio_ctx, found 7"),
        ({"dims": dict_of(NUMBERS | {"n_text_state": whole(64)})}, "expected 32 for n_text_state"),
        ({"dims": dict_of(NUMBERS | {"n_text_head": whole(5)})}, "a multiple of the attention"),
        ({"dims": dict_of(NUMBERS | {"n_text_layer": whole(10**9)})}, "1000000001 layers, but"),
    ],
)
def test_damage_is_one_clear_error(parts: dict[str, bytes], phrase: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=phrase) as caught:
        load(write(tmp_path / "x.pt", **parts))
    assert str(tmp_path / "x.pt") in str(caught.value)


def test_file_of_another_program(tmp_path: Path) -> None:
    write_archive(tmp_path / "x.pt", dict_of({"state_dict": b"}"}), {})
    with pytest.raises(CheckpointError, match="expected dims and model_state_dict"):
        load(tmp_path / "x.pt")


def test_vocabulary_of_another_size(tmp_path: Path) -> None:
    dims = type(DIMS)(**vars(DIMS) | {"n_vocab": 51900})
    stored = {
        openai_name(name): StoredTensor(tmp_path, "F32", shape, 0)
        for name, shape in expected_shapes(dims).items()
    }
    with pytest.raises(CheckpointError, match="51900 ids, as no vocabulary of OpenAI has"):
        build_checkpoint(tmp_path, None, dims, stored)
