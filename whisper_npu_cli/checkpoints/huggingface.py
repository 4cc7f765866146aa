"""A directory in Hugging Face's layout -> a checkpoint.

The layout is `config.json`, `generation_config.json`, `tokenizer.json` and `model.safetensors`,
or instead of the last several shards with an index, or `pytorch_model.bin`. Everything is checked
here, once: whoever holds a `Checkpoint` need not check it again. Knows nothing of aliases, caches
and downloads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from reprlib import repr as shorten
from stat import S_ISREG
from typing import Any

from whisper_npu_cli.checkpoints.checkpoint import (
    MULTILINGUAL_N_VOCAB,
    Checkpoint,
    GenerationSettings,
    check_dims,
    choose_heads,
    expected_shapes,
)
from whisper_npu_cli.checkpoints.safetensors import read_header, read_index
from whisper_npu_cli.checkpoints.stored import StoredTensor, select_tensors
from whisper_npu_cli.checkpoints.torch_file import find_tensors, read_torch_file
from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.errors import CheckpointError

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PYTORCH_FILE = "pytorch_model.bin"
_UNREAD_SUFFIXES = frozenset({".bin", ".pt", ".h5", ".msgpack"})  # weights in other formats
# The key in config.json of each field of ModelDims.
CONFIG_NAMES = {
    "n_mels": "num_mel_bins",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_vocab": "vocab_size",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
}
_MAX_SMALL_BYTES = 64 << 20  # the largest tokenizer.json of a Whisper has 4 MB
_NOT_WHISPER = "give a directory of Hugging Face Whisper, for example of openai/whisper-base"
_NOT_SAFETENSORS = "convert the weights with transformers: model.save_pretrained(DIRECTORY)"


def load(path: Path, name: str | None = None) -> Checkpoint:
    """Return the checkpoint in directory `path`; CheckpointError says what is wrong with it.

    Results call the model `name`, or as the directory is called where `name` is None.
    """
    dims = _read_dims(path)
    stored = _find_tensors(path)
    check_dims(dims, f"{path}: config.json", len(stored))
    tensors = select_tensors(path, stored, expected_shapes(dims))
    return Checkpoint(
        name=name or path.resolve().name,
        path=path,
        dims=dims,
        generation=_read_generation(path / "generation_config.json", dims),
        tokenizer_json=read_file(path / "tokenizer.json"),
        tensors=tensors,
    )


def read_file(path: Path) -> bytes:
    """Return the bytes of a small file in a checkpoint's folder; CheckpointError without it.

    A link may lead to what has no end, as /dev/zero, or never begins, as a pipe.
    """
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode) or status.st_size > _MAX_SMALL_BYTES:
            what = f"of {status.st_size} bytes" if S_ISREG(status.st_mode) else "no file"
            raise CheckpointError(f"{path}: {what}, expected at most {_MAX_SMALL_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path.parent} is no Whisper checkpoint: cannot read {path.name} ({error.strerror})",
            hint=_NOT_WHISPER,
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object in a checkpoint's folder; CheckpointError where it is none."""
    try:
        fields = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected JSON: {error}") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(fields).__name__}")
    return fields


def _read_dims(path: Path) -> ModelDims:
    config = read_json(path / "config.json")
    if config.get("model_type") != "whisper":
        raise CheckpointError(
            f"{path} is no Whisper checkpoint: config.json says model_type"
            f" {shorten(config.get('model_type'))}, expected 'whisper'",
            hint=_NOT_WHISPER,
        )
    for key in CONFIG_NAMES.values():
        if type(config.get(key)) is not int or config[key] <= 0:
            raise CheckpointError(
                f"{path}: config.json: expected a positive whole number for {key},"
                f" found {shorten(config.get(key))}"
            )
    dims = ModelDims(**{field: config[key] for field, key in CONFIG_NAMES.items()})
    _check_architecture(path, config, dims)
    return dims


def _check_architecture(path: Path, config: dict[str, Any], dims: ModelDims) -> None:
    """Raise CheckpointError unless `config` is of an architecture that the engines compute.

    Every published checkpoint has it.
    """
    expected = {
        "encoder_ffn_dim": 4 * dims.n_audio_state,
        "decoder_ffn_dim": 4 * dims.n_text_state,
        "activation_function": "gelu",
        "scale_embedding": False,
        "tie_word_embeddings": True,
    }
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise CheckpointError(
                f"{path}: config.json: expected {value!r} for {key}, found {shorten(config[key])}"
            )


def _read_generation(file: Path, dims: ModelDims) -> GenerationSettings:
    """Read generation_config.json; checkpoints of 2022 have none, and get defaults."""
    fields = read_json(file) if file.exists() else {}
    fields = {key: value for key, value in fields.items() if value is not None}
    try:
        return GenerationSettings(
            is_multilingual=bool(
                fields.get("is_multilingual", dims.n_vocab >= MULTILINGUAL_N_VOCAB)
            ),
            alignment_heads=choose_heads(fields.get("alignment_heads", ()), dims),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{file}: expected pairs of numbers: {error!s:.200}") from error


def _find_tensors(path: Path) -> dict[str, StoredTensor]:
    if (path / WEIGHTS_FILE).is_file():
        return read_header(path / WEIGHTS_FILE)
    if (path / INDEX_FILE).is_file():
        return read_index(path / INDEX_FILE)
    if (path / PYTORCH_FILE).is_file():
        return find_tensors(read_torch_file(path / PYTORCH_FILE), path / PYTORCH_FILE)
    found = describe_unread(file.name for file in path.iterdir())
    raise CheckpointError(
        f"{path}: no weights: expected {WEIGHTS_FILE}{found}", hint=_NOT_SAFETENSORS
    )


def describe_unread(files: Iterable[str]) -> str:
    """Return for an error which of `files` are weights in other formats; "" where none are."""
    others = sorted(file for file in files if Path(file).suffix in _UNREAD_SUFFIXES)
    return f", found {', '.join(others)}" if others else ""
