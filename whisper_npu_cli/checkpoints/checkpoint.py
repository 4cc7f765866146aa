"""A checkpoint directory -> dimensions, generation settings and named fp32 arrays.

Directories are Hugging Face's: `config.json`, `generation_config.json`, `tokenizer.json` and
`model.safetensors` (or shards with an index). All is checked here, once: whoever holds a
`Checkpoint` need not look again. Knows nothing of aliases, caches and downloads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.safetensors import DTYPES, StoredTensors, read_header, read_index
from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.dims import N_FRAMES, ModelDims
from whisper_npu_cli.errors import CheckpointError

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
OTHER_WEIGHTS = frozenset({".bin", ".pt", ".h5", ".msgpack"})  # suffixes of what is not read
_NOT_WHISPER = "give a directory of Hugging Face Whisper, for example of openai/whisper-base"
_NOT_SAFETENSORS = "convert the weights with transformers: model.save_pretrained(DIRECTORY)"
# Vocabularies from here on are multilingual (openai/whisper `model.py`, `is_multilingual`).
MULTILINGUAL_N_VOCAB = 51865
# config.json's name of each field of ModelDims
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

Head: TypeAlias = tuple[int, int]  # decoder layer, head in it


@dataclass(frozen=True)
class GenerationSettings:
    """What is read of `generation_config.json`: facts of the model.

    Which tokens are suppressed follows from the tokenizer and the options, as in openai/whisper.
    """

    is_multilingual: bool
    alignment_heads: tuple[Head, ...]  # whose attention follows time


@dataclass(frozen=True)
class Checkpoint:
    """A model, checked: every tensor of `expected_shapes(dims)` is in `tensors`."""

    name: str
    path: Path | None  # None where the tensors are computed
    dims: ModelDims
    generation: GenerationSettings
    tokenizer_json: bytes
    tensors: Mapping[str, NDArray[np.float32]]

    def array(self, name: str) -> NDArray[np.float32]:
        """Return a tensor as fp32: a view of the file where it is stored so, else a copy."""
        return self.tensors[name]

    @property
    def identity(self) -> str | None:
        """What is another whenever a weight is; None where that cannot be told cheaply."""
        return getattr(self.tensors, "identity", None)

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer; CheckpointError where it is none that fits the embeddings."""
        source = str(self.path or self.name)
        is_multilingual = self.generation.is_multilingual
        tokenizer = Tokenizer(self.tokenizer_json, is_multilingual=is_multilingual, source=source)
        if tokenizer.n_vocab > self.dims.n_vocab:  # fewer ids are usual: embeddings get padded
            raise CheckpointError(
                f"{source}: tokenizer.json: expected at most {self.dims.n_vocab} ids,"
                f" as the embeddings have, found {tokenizer.n_vocab}"
            )
        return tokenizer


def expected_shapes(dims: ModelDims) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor of a Whisper of `dims`, in Hugging Face's names."""
    audio, text = dims.n_audio_state, dims.n_text_state
    shapes: dict[str, tuple[int, ...]] = {
        "model.encoder.conv1.weight": (audio, dims.n_mels, 3),
        "model.encoder.conv1.bias": (audio,),
        "model.encoder.conv2.weight": (audio, audio, 3),
        "model.encoder.conv2.bias": (audio,),
        "model.encoder.embed_positions.weight": (dims.n_audio_ctx, audio),
    }
    for layer in range(dims.n_audio_layer):
        shapes |= _layer_shapes(f"model.encoder.layers.{layer}", audio, ("self_attn",))
    shapes |= _norm_shapes("model.encoder.layer_norm", audio)
    shapes["model.decoder.embed_tokens.weight"] = (dims.n_vocab, text)
    shapes["model.decoder.embed_positions.weight"] = (dims.n_text_ctx, text)
    for layer in range(dims.n_text_layer):
        shapes |= _layer_shapes(
            f"model.decoder.layers.{layer}", text, ("self_attn", "encoder_attn")
        )
    return shapes | _norm_shapes("model.decoder.layer_norm", text)


def _layer_shapes(
    prefix: str, width: int, attentions: tuple[str, ...]
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for attention in attentions:
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{prefix}.{attention}.{projection}.weight"] = (width, width)
            if projection != "k_proj":  # the key projection has no bias
                shapes[f"{prefix}.{attention}.{projection}.bias"] = (width,)
        shapes |= _norm_shapes(f"{prefix}.{attention}_layer_norm", width)
    shapes[f"{prefix}.fc1.weight"] = (4 * width, width)
    shapes[f"{prefix}.fc1.bias"] = (4 * width,)
    shapes[f"{prefix}.fc2.weight"] = (width, 4 * width)
    shapes[f"{prefix}.fc2.bias"] = (width,)
    return shapes | _norm_shapes(f"{prefix}.final_layer_norm", width)


def _norm_shapes(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.weight": (width,), f"{prefix}.bias": (width,)}


def load_checkpoint(path: Path, name: str | None = None) -> Checkpoint:
    """Return the checkpoint in directory `path`; CheckpointError says what it lacks.

    `name` (default: the directory's) is what results call the model.
    """
    config = _read_json(path / "config.json")
    dims = _read_dims(path, config)
    return Checkpoint(
        name=name or path.resolve().name,
        path=path,
        dims=dims,
        generation=_read_generation(path / "generation_config.json", dims),
        tokenizer_json=_read_file(path / "tokenizer.json"),
        tensors=_read_tensors(path, dims),
    )


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path.parent} is no Whisper checkpoint: cannot read {path.name} ({error.strerror})",
            hint=_NOT_WHISPER,
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(_read_file(path))
    except ValueError as error:
        raise CheckpointError(f"{path}: expected JSON: {error}") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(fields).__name__}")
    return fields


def _read_dims(path: Path, config: dict[str, Any]) -> ModelDims:
    if config.get("model_type") != "whisper":
        raise CheckpointError(
            f"{path} is no Whisper checkpoint: config.json says model_type"
            f" {config.get('model_type')!r}, expected 'whisper'",
            hint=_NOT_WHISPER,
        )
    for key in CONFIG_NAMES.values():
        if type(config.get(key)) is not int or config[key] <= 0:
            raise CheckpointError(
                f"{path}: config.json: expected a positive whole number for {key},"
                f" found {config.get(key)!r}"
            )
    dims = ModelDims(**{field: config[key] for field, key in CONFIG_NAMES.items()})
    expected = {  # what the engines compute, and every published checkpoint has
        "max_source_positions": N_FRAMES // 2,
        "encoder_ffn_dim": 4 * dims.n_audio_state,
        "decoder_ffn_dim": 4 * dims.n_text_state,
        "activation_function": "gelu",
        "scale_embedding": False,
        "tie_word_embeddings": True,
    }
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise CheckpointError(
                f"{path}: config.json: expected {value!r} for {key}, found {config[key]!r}"
            )
    if dims.n_audio_state % dims.n_audio_head or dims.n_text_state % dims.n_text_head:
        raise CheckpointError(
            f"{path}: config.json: expected d_model {dims.n_text_state} to be a multiple of the"
            f" attention heads, found {dims.n_audio_head} and {dims.n_text_head}"
        )
    return dims


def _read_generation(file: Path, dims: ModelDims) -> GenerationSettings:
    """Read generation_config.json, which checkpoints of 2022 do not have."""
    fields = _read_json(file) if file.exists() else {}
    fields = {key: value for key, value in fields.items() if value is not None}
    try:
        return GenerationSettings(
            is_multilingual=bool(
                fields.get("is_multilingual", dims.n_vocab >= MULTILINGUAL_N_VOCAB)
            ),
            alignment_heads=_alignment_heads(fields.get("alignment_heads", ()), dims),
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: expected pairs of numbers: {error}") from error


def _alignment_heads(pairs: Sequence[Sequence[int]], dims: ModelDims) -> tuple[Head, ...]:
    """Return the named heads that exist, or else the default.

    Distilled models have fewer layers, and may carry the list of the model they come from.
    """
    heads = ((int(layer), int(head)) for layer, head in pairs)
    existing = tuple(h for h in heads if h[0] < dims.n_text_layer and h[1] < dims.n_text_head)
    return existing or default_alignment_heads(dims)


def default_alignment_heads(dims: ModelDims) -> tuple[Head, ...]:
    """Return all heads of the upper half of the decoder (openai/whisper `model.py`)."""
    layers = range(dims.n_text_layer // 2, dims.n_text_layer)
    return tuple((layer, head) for layer in layers for head in range(dims.n_text_head))


def _read_tensors(path: Path, dims: ModelDims) -> StoredTensors:
    if (path / WEIGHTS_FILE).is_file():
        stored = read_header(path / WEIGHTS_FILE)
    elif (path / INDEX_FILE).is_file():
        stored = read_index(path / INDEX_FILE)
    else:
        raise CheckpointError(_missing_weights(path), hint=_NOT_SAFETENSORS)
    for name, shape in expected_shapes(dims).items():
        if name not in stored:
            raise CheckpointError(f"{path}: missing tensor {name}, expected shape {shape}")
        tensor = stored[name]
        if tensor.shape != shape:
            raise CheckpointError(
                f"{tensor.path}: tensor {name}: expected shape {shape}, found {tensor.shape}"
            )
        if tensor.dtype not in DTYPES:
            raise CheckpointError(
                f"{tensor.path}: tensor {name}: expected dtype {', '.join(DTYPES)},"
                f" found {tensor.dtype}"
            )
    return StoredTensors(stored)


def _missing_weights(path: Path) -> str:
    others = sorted(f.name for f in path.iterdir() if f.suffix in OTHER_WEIGHTS)
    found = f", found {', '.join(others)}" if others else ""
    return f"{path}: no weights: expected {WEIGHTS_FILE}{found}"
