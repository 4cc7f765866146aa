"""CTranslate2's folders: heads, vocabularies, and damage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.formats import DIMS, small_checkpoint, write_ctranslate2
from whisper_npu_cli.checkpoints.checkpoint import default_alignment_heads
from whisper_npu_cli.checkpoints.ctranslate2 import load
from whisper_npu_cli.checkpoints.vocabularies import openai_texts
from whisper_npu_cli.errors import CheckpointError

TEXTS = openai_texts(DIMS.n_vocab)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_ctranslate2(tmp_path, small_checkpoint())
    return tmp_path


def replace(folder: Path, old: bytes, new: bytes) -> None:
    content = (folder / "model.bin").read_bytes()
    assert content.count(old) == 1
    (folder / "model.bin").write_bytes(content.replace(old, new))


def test_heads_are_those_of_the_config(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"alignment_heads": [[1, 1], [9, 9]]}))
    assert load(folder).generation.alignment_heads == ((1, 1),)
    (folder / "config.json").write_text("{}")
    assert load(folder).generation.alignment_heads == default_alignment_heads(DIMS)
    (folder / "config.json").write_text('{"alignment_heads": [1]}')
    with pytest.raises(CheckpointError, match="expected pairs of numbers"):
        load(folder)


def test_a_tokenizer_in_the_folder_is_taken(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b"mine")
    assert load(folder).tokenizer_json == b"mine"


@pytest.mark.parametrize("name", ["vocabulary.json", "vocabulary.txt"])
def test_without_a_tokenizer_the_vocabulary_must_be_openais(folder: Path, name: str) -> None:
    def write(texts: list[str]) -> None:
        content = json.dumps(texts) if name.endswith("json") else "\n".join(texts)
        (folder / name).write_text(content, encoding="utf-8")

    write([*TEXTS, "<|endoftext|>"])
    assert load(folder).tokenizer_json == small_checkpoint().tokenizer_json
    write(["other", *TEXTS[1:]])
    with pytest.raises(CheckpointError, match="its vocabulary is none of OpenAI's") as caught:
        load(folder)
    assert "tokenizer.json" in (caught.value.hint or "")


@pytest.mark.parametrize("content", [b"", b"[", b"{}", b"7", b"\xff"])
def test_damaged_vocabulary(folder: Path, content: bytes) -> None:
    (folder / "vocabulary.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="vocabulary"):
        load(folder)


@pytest.mark.parametrize(
    ("old", "new", "phrase"),
    [
        (b"WhisperSpec", b"WhisperSpek", "no Whisper of CTranslate2"),
        (
            b"encoder/conv1/weight\0\3",
            b"encoder/conv1/weighx\0\3",
            "missing variable encoder/conv1",
        ),
        (b"encoder/conv1/weight\0\3", b"encoder/conv1/weigh\xff\0\3", "is no name"),
        (b"decoder/num_heads\0\0\2", b"decoder/num_heads\0\0\7", "for n_text_head, found 0"),
        (b"decoder/num_heads\0\0\2", b"decoder/num_heads\0\0\4", "for n_text_head, found 0"),
        (
            b"encoder/conv1/bias\0\1",
            b"encoder/conv1/biax\0\1",
            "missing tensor model.encoder.conv1",
        ),
        (
            b"encoder/conv1/bias\0\1\x20",
            b"encoder/conv1/bias\0\1\x21",
            r"shape \(33,\) and 64 bytes",
        ),
        (b"encoder/conv1/bias\0\1", b"encoder/conv1/bias\0\xff", "damaged or truncated"),
        (b"weight\0\x1a\0decoder/embeddings", b"weight\0\x1a\0decoder/embeddingz", "is not there"),
    ],
)
def test_damage_is_one_clear_error(folder: Path, old: bytes, new: bytes, phrase: str) -> None:
    replace(folder, old, new)
    with pytest.raises(CheckpointError, match=phrase) as caught:
        load(folder)
    assert str(folder / "model.bin") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_layer_is_not_lost_by_a_damaged_name(folder: Path) -> None:
    name = b"decoder/layer_1/ffn/linear_0/weight"
    replace(folder, name, name.replace(b"ffn", b"ffm"))
    with pytest.raises(CheckpointError, match=r"missing tensor model.decoder.layers.1.fc1.weight"):
        load(folder)


def test_truncated_file(folder: Path) -> None:
    content = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="truncated"):
        load(folder)


def test_whole_numbers_need_their_scale(tmp_path: Path) -> None:
    write_ctranslate2(tmp_path, small_checkpoint(), "int8")
    replace(tmp_path, b"encoder/conv2/weight_scale", b"encoder/conv2/weight_scalx")
    with pytest.raises(CheckpointError, match="found int8 without a scale"):
        load(tmp_path)


def test_the_scale_of_a_damaged_file_may_be_zero(tmp_path: Path) -> None:
    write_ctranslate2(tmp_path, small_checkpoint(), "int8")
    content = bytearray((tmp_path / "model.bin").read_bytes())
    begin = content.index(b"encoder/conv2/weight_scale\0") + 27 + 1 + 4 + 5
    content[begin : begin + 4] = bytes(4)
    (tmp_path / "model.bin").write_bytes(content)
    assert not np.isfinite(load(tmp_path).array("model.encoder.conv2.weight")[0]).all()
