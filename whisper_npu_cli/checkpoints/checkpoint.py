"""A model as every engine holds it: dimensions, settings, tokenizer and fp32 tensors.

Knows no file format and no file layout. Tensors are named as in Hugging Face's transformers,
whatever they were read from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from reprlib import repr as shorten
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.dims import N_FRAMES, ModelDims
from whisper_npu_cli.errors import CheckpointError

# A vocabulary of this size or more is multilingual (openai/whisper `model.py`, `is_multilingual`).
MULTILINGUAL_N_VOCAB = 51865
_HASHED_BYTES = 1 << 20

Head: TypeAlias = tuple[int, int]  # (decoder layer, attention head of that layer)


@dataclass(frozen=True)
class GenerationSettings:
    """Facts of a model that its dimensions do not tell.

    `alignment_heads` are the heads of cross-attention that follow the audio in time. Which tokens
    are suppressed follows from the tokenizer and the options, as in openai/whisper.
    """

    is_multilingual: bool
    alignment_heads: tuple[Head, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A model that was checked: every tensor of `expected_shapes(dims)` is in `tensors`.

    `name` is what results call the model. `path` is the folder or file it was read from, None
    where the tensors are computed.
    """

    name: str
    path: Path | None
    dims: ModelDims
    generation: GenerationSettings
    tokenizer_json: bytes
    tensors: Mapping[str, NDArray[np.float32]]

    def array(self, name: str) -> NDArray[np.float32]:
        """Return a tensor as fp32: a view of the file where that stores fp32, else a copy."""
        return self.tensors[name]

    @property
    def identity(self) -> str | None:
        """A key that changes when any weight changes; None where `tensors` has no such key."""
        return getattr(self.tensors, "identity", None)

    def fingerprint(self) -> str:
        """Return a SHA-256 that is the same wherever weights and tokenizer are the same.

        It reads the files of the weights: about a second a gigabyte.
        """
        digest = hashlib.sha256(self.tokenizer_json)
        paths = getattr(self.tensors, "paths", None)
        if paths is None:  # they are computed
            digest.update(str(self.identity).encode())
        for file_digest in sorted(map(_hash_file, paths or ())):
            digest.update(file_digest)
        return digest.hexdigest()

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer; CheckpointError if it is damaged or has too many ids."""
        source = str(self.path or self.name)
        is_multilingual = self.generation.is_multilingual
        tokenizer = Tokenizer(self.tokenizer_json, is_multilingual=is_multilingual, source=source)
        if tokenizer.n_vocab > self.dims.n_vocab:  # fewer ids are usual: embeddings are padded
            raise CheckpointError(
                f"{source}: tokenizer.json: expected at most {self.dims.n_vocab} ids,"
                f" as the embeddings have, found {tokenizer.n_vocab}"
            )
        return tokenizer


def _hash_file(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_HASHED_BYTES):
            digest.update(piece)
    return digest.digest()


def expected_shapes(dims: ModelDims) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a Whisper model with dimensions `dims`, by its name."""
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


def default_alignment_heads(dims: ModelDims) -> tuple[Head, ...]:
    """Return all heads of the upper half of the decoder (openai/whisper `model.py`)."""
    layers = range(dims.n_text_layer // 2, dims.n_text_layer)
    return tuple((layer, head) for layer in layers for head in range(dims.n_text_head))


def choose_heads(pairs: Iterable[Sequence[int]], dims: ModelDims) -> tuple[Head, ...]:
    """Return those of the listed heads that exist, or the default heads if none does.

    A distilled model has fewer layers, and its list may be that of the model it comes from.
    Raises TypeError or ValueError where `pairs` are none.
    """
    heads = ((int(layer), int(head)) for layer, head in pairs)
    existing = tuple(h for h in heads if h[0] < dims.n_text_layer and h[1] < dims.n_text_head)
    return existing or default_alignment_heads(dims)


def check_dims(dims: ModelDims, source: str, n_tensors: int) -> None:
    """Raise CheckpointError unless `dims` are of a Whisper whose file has `n_tensors` tensors.

    That many bound the layers, so nobody lays out a billion of them before a tensor is missing.
    """
    for field, value in asdict(dims).items():
        if type(value) is not int or value <= 0:
            raise CheckpointError(
                f"{source}: expected a positive whole number for {field}, found {shorten(value)}"
            )
    expected = {"n_audio_ctx": N_FRAMES // 2, "n_text_state": dims.n_audio_state}
    for field, value in expected.items():
        if getattr(dims, field) != value:
            raise CheckpointError(
                f"{source}: expected {value} for {field}, found {getattr(dims, field)}"
            )
    if dims.n_audio_state % dims.n_audio_head or dims.n_text_state % dims.n_text_head:
        raise CheckpointError(
            f"{source}: expected the width {dims.n_text_state} to be a multiple of the attention"
            f" heads, found {dims.n_audio_head} and {dims.n_text_head}"
        )
    n_layers = dims.n_audio_layer + dims.n_text_layer
    if n_layers > n_tensors:
        raise CheckpointError(f"{source}: {n_layers} layers, but only {n_tensors} tensors")
