"""A folder of CTranslate2, as faster-whisper loads them: `model.bin`, `config.json`, a tokenizer.

`model.bin` is little endian: u32 version 6, the text "WhisperSpec", u32 revision, u32 count; then
each variable: its name, u8 rank, u32 dimensions, u8 type, u32 bytes, numbers; then u32 count and
pairs of names, an alias and what it stands for. A text is its length as u16, bytes and a NUL, which
counts (CTranslate2 `specs/model_spec.py`, `_serialize`). Keys' biases are stored and zero.

Numbers of 8 and 16 bits are to be divided by `NAME_scale`. The linear layers of attention lie
together: queries, keys and values, or keys and values, one below the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from whisper_npu_cli.checkpoints.alignment import find_alignment_heads
from whisper_npu_cli.checkpoints.binary import Cursor, open_cursor
from whisper_npu_cli.checkpoints.checkpoint import (
    MULTILINGUAL_N_VOCAB,
    Checkpoint,
    GenerationSettings,
    Head,
    check_dims,
    choose_heads,
    expected_shapes,
)
from whisper_npu_cli.checkpoints.huggingface import read_file, read_json
from whisper_npu_cli.checkpoints.stored import DTYPES, StoredTensor, select_tensors
from whisper_npu_cli.checkpoints.vocabularies import openai_texts, openai_tokenizer_json
from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.errors import CheckpointError

MODEL_FILE = "model.bin"
_VERSION = 6
BEGINNING = _VERSION.to_bytes(4, "little") + b"\x0c\0WhisperSpec\0"
_DTYPES = ("F32", "int8", "int16", "int32", "F16", "BF16")  # `_dtype_to_type_id`
# Hugging Face's modules, in a layer or beside them -> CTranslate2's
_MODULES = {
    "conv1": "conv1",
    "conv2": "conv2",
    "embed_tokens": "embeddings",
    "layer_norm": "layer_norm",
    "self_attn_layer_norm": "self_attention/layer_norm",
    "self_attn.out_proj": "self_attention/linear_1",
    "encoder_attn_layer_norm": "attention/layer_norm",
    "encoder_attn.q_proj": "attention/linear_0",
    "encoder_attn.out_proj": "attention/linear_2",
    "final_layer_norm": "ffn/layer_norm",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
}
# the same, with which part it is of how many
_PARTS = {
    "self_attn.q_proj": ("self_attention/linear_0", 0, 3),
    "self_attn.k_proj": ("self_attention/linear_0", 1, 3),
    "self_attn.v_proj": ("self_attention/linear_0", 2, 3),
    "encoder_attn.k_proj": ("attention/linear_1", 0, 2),
    "encoder_attn.v_proj": ("attention/linear_1", 1, 2),
}
_NAME = re.compile(r"model\.(encoder|decoder)\.(?:layers\.(\d+)\.)?(.+)\.(weight|bias)")
_LAYER_NORM = {"weight": "gamma", "bias": "beta"}


def load(path: Path, name: str | None = None) -> Checkpoint:
    """Return the checkpoint of a folder or its `model.bin`; CheckpointError says what is wrong."""
    file = path / MODEL_FILE if path.is_dir() else path
    variables = _read_variables(file)
    dims = _read_dims(file, variables)
    check_dims(dims, str(file), len(variables))
    shapes = expected_shapes(dims)
    stored = {ours: _find_tensor(variables, ours) for ours in shapes}
    present = {ours: tensor for ours, tensor in stored.items() if tensor}
    tensors = select_tensors(file, present, shapes)
    return Checkpoint(
        name=name or path.resolve().name,
        path=path,
        dims=dims,
        generation=GenerationSettings(
            is_multilingual=dims.n_vocab >= MULTILINGUAL_N_VOCAB,
            alignment_heads=_read_heads(file, dims),
        ),
        tokenizer_json=_read_tokenizer(file.parent, dims.n_vocab),
        tensors=tensors,
    )


def _read_variables(file: Path) -> dict[str, StoredTensor]:
    with open_cursor(file) as cursor:
        if cursor.read(len(BEGINNING)) != BEGINNING:
            raise cursor.explain("no Whisper of CTranslate2 in version 6 of its format")
        _, n_variables = cursor.unpack("2I")
        variables = dict(_read_variable(cursor) for _ in range(n_variables))
        (n_aliases,) = cursor.unpack("I")
        aliases = [(_read_text(cursor), _read_text(cursor)) for _ in range(n_aliases)]
        for alias, target in aliases:
            if target not in variables:
                raise cursor.explain(
                    f"{alias[:100]!r} stands for {target[:100]!r}, which is not there"
                )
            variables[alias] = variables[target]
    return {name: _add_scale(name, variables) for name in variables}


def _read_text(cursor: Cursor) -> str:
    text = cursor.read(*cursor.unpack("H"))
    try:
        return text.decode().removesuffix("\0")
    except ValueError as error:
        raise cursor.explain(f"{text[:100]!r} is no name") from error


def _read_variable(cursor: Cursor) -> tuple[str, StoredTensor]:
    name = _read_text(cursor)
    (rank,) = cursor.unpack("B")
    shape = cursor.unpack(f"{rank}I")
    type_, n_bytes = cursor.unpack("BI")
    dtype = _DTYPES[type_] if type_ < len(_DTYPES) else f"number {type_}"
    tensor = StoredTensor(cursor.path, dtype, shape, cursor.skip(n_bytes))
    if dtype in DTYPES and tensor.n_bytes != n_bytes:
        raise cursor.explain(f"{name[:100]!r} has shape {shape[:8]} and {n_bytes} bytes of {dtype}")
    return name, tensor


def _add_scale(name: str, variables: Mapping[str, StoredTensor]) -> StoredTensor:
    """Return a variable with its scale; of a type that cannot be read where it lacks one."""
    tensor, scale = variables[name], variables.get(f"{name}_scale")
    if not tensor.shape or not tensor.dtype.startswith("int"):
        return tensor
    if scale is None or scale.dtype != "F32" or scale.shape not in ((), tensor.shape[:1]):
        return replace(tensor, dtype=f"{tensor.dtype} without a scale")
    return replace(tensor, scale=scale)


def _read_dims(file: Path, variables: Mapping[str, StoredTensor]) -> ModelDims:
    def shape(name: str, rank: int) -> tuple[int, ...]:
        if name not in variables or len(variables[name].shape) != rank:
            raise CheckpointError(f"{file}: missing variable {name} with {rank} dimensions")
        return variables[name].shape

    def n_layers(side: str) -> int:  # by the highest, so that none gets lost by a damaged name
        numbers = (re.match(rf"{side}/layer_([0-9]{{1,4}})/", name) for name in variables)
        return max((int(number[1]) + 1 for number in numbers if number), default=0)

    def n_heads(side: str) -> int:
        shape(f"{side}/num_heads", rank=0)
        tensor = variables[f"{side}/num_heads"]
        return int(tensor.read()) if tensor.dtype in ("int8", "int16") else 0

    n_audio_ctx, n_audio_state = shape("encoder/position_encodings/encodings", rank=2)
    n_text_ctx, n_text_state = shape("decoder/position_encodings/encodings", rank=2)
    return ModelDims(
        n_mels=shape("encoder/conv1/weight", rank=3)[1],
        n_audio_ctx=n_audio_ctx,
        n_audio_state=n_audio_state,
        n_audio_head=n_heads("encoder"),
        n_audio_layer=n_layers("encoder"),
        n_vocab=shape("decoder/embeddings/weight", rank=2)[0],
        n_text_ctx=n_text_ctx,
        n_text_state=n_text_state,
        n_text_head=n_heads("decoder"),
        n_text_layer=n_layers("decoder"),
    )


def _find_tensor(variables: Mapping[str, StoredTensor], name: str) -> StoredTensor | None:
    """Return the tensor that Hugging Face calls `name`, or None where the file has none."""
    match = _NAME.fullmatch(name)
    assert match, name
    side, layer, module, parameter = match.groups()
    scope = f"{side}/layer_{layer}" if layer else side
    if module == "embed_positions":
        return variables.get(f"{scope}/position_encodings/encodings")
    if module.endswith("layer_norm"):
        parameter = _LAYER_NORM[parameter]
    if module not in _PARTS:
        return variables.get(f"{scope}/{_MODULES[module]}/{parameter}")
    layer_name, part, n_parts = _PARTS[module]
    whole = variables.get(f"{scope}/{layer_name}/{parameter}")
    if not whole or not whole.shape or whole.shape[0] % n_parts or whole.dtype not in DTYPES:
        return whole
    n_rows = whole.shape[0] // n_parts
    return whole.rows(part * n_rows, (part + 1) * n_rows)


def _read_heads(file: Path, dims: ModelDims) -> tuple[Head, ...]:
    config = file.parent / "config.json"
    pairs = read_json(config).get("alignment_heads") if config.exists() else None
    if pairs is None:
        return find_alignment_heads(dims, file)
    try:
        return choose_heads(pairs, dims)
    except (TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{config}: expected pairs of numbers: {error!s:.200}") from error


def _read_tokenizer(folder: Path, n_vocab: int) -> bytes:
    """Return `tokenizer.json`; without one OpenAI's, if `vocabulary.json` or `.txt` is no other."""
    if (folder / "tokenizer.json").exists():
        return read_file(folder / "tokenizer.json")
    tokenizer_json, known = openai_tokenizer_json(n_vocab), openai_texts(n_vocab)
    if tokenizer_json is None or _read_vocabulary(folder, known)[: len(known)] != known:
        raise CheckpointError(
            f"{folder}: cannot read tokenizer.json, and its vocabulary is none of OpenAI's",
            hint="copy tokenizer.json from the model that it was converted from",
        )
    return tokenizer_json


def _read_vocabulary(folder: Path, default: list[str]) -> list[str]:
    """Return the texts by id, as the version of the converter wrote them; `default` for none."""
    try:
        if (folder / "vocabulary.json").exists():
            return list(json.loads(read_file(folder / "vocabulary.json")))
        if (folder / "vocabulary.txt").exists():
            return read_file(folder / "vocabulary.txt").decode().split("\n")
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{folder}: damaged vocabulary: {error}") from error
    return default
