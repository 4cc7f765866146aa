"""Writers of the formats of other programs, after the layouts that `checkpoints/` states.

They write what those programs' own converters write, of any checkpoint that has a vocabulary of
OpenAI's.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.openai import openai_name
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.checkpoints.vocabularies import openai_texts, openai_tokenizer_json, text_bytes
from whisper_npu_cli.dims import N_FRAMES, ModelDims

# The narrowest Whisper that blocks of 32 numbers can hold, with a vocabulary of OpenAI's
DIMS = ModelDims(
    n_mels=80,
    n_audio_ctx=N_FRAMES // 2,
    n_audio_state=32,
    n_audio_head=2,
    n_audio_layer=1,
    n_vocab=51864,
    n_text_ctx=16,
    n_text_state=32,
    n_text_head=2,
    n_text_layer=2,
)


def small_checkpoint() -> Checkpoint:
    """Return a checkpoint of DIMS with random weights and OpenAI's English vocabulary."""
    checkpoint = random_checkpoint(DIMS)
    tokenizer_json = openai_tokenizer_json(DIMS.n_vocab)
    assert tokenizer_json
    return Checkpoint(**vars(checkpoint) | {"tokenizer_json": tokenizer_json})


def narrow(values: NDArray[np.float32], dtype: str) -> bytes:
    """Return the bytes of `values` as "F32", "F16" or, cut off, "BF16"."""
    if dtype == "BF16":
        return (np.ascontiguousarray(values).view(np.uint32) >> 16).astype("<u2").tobytes()
    return values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


# torch.save

_STORAGES = {"F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage"}


def text(value: str) -> bytes:
    """Return the pickle of a text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def tuple_of(*items: bytes) -> bytes:
    """Return the pickle of a tuple, of the pickles of its items."""
    return b"(" + b"".join(items) + b"t"


def dict_of(items: dict[str, bytes]) -> bytes:
    """Return the pickle of a dictionary, of the pickles of its values."""
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def whole(value: int) -> bytes:
    """Return the pickle of a whole number."""
    return b"J" + struct.pack("<i", value)


def call(module: str, name: str, arguments: bytes) -> bytes:
    """Return the pickle of what a function returns."""
    return f"c{module}\n{name}\n".encode() + arguments + b"R"


def tensor(key: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return the pickle of a tensor that has the storage `key` for itself."""
    strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    kind = f"ctorch\n{_STORAGES[dtype]}\n".encode()
    count = whole(int(np.prod(shape)))
    storage = tuple_of(text("storage"), kind, text(key), text("cpu"), count) + b"Q"
    sizes = (tuple_of(*map(whole, numbers)) for numbers in (shape, strides))
    hooks = call("collections", "OrderedDict", b")")
    arguments = tuple_of(storage, whole(0), *sizes, b"\x89", hooks)
    return call("torch._utils", "_rebuild_tensor_v2", arguments)


def write_archive(
    path: Path, value: bytes, storages: dict[str, bytes], compression: int = 0
) -> None:
    """Write a file of `torch.save`: the pickle of its value, and storages by key."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + value + b".")
        archive.writestr("archive/byteorder", "little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)


def write_state(
    path: Path, checkpoint: Checkpoint, dtype: str, rename: Callable[[str], str], dims: bool
) -> None:
    """Write the tensors under the names that `rename` gives, alone or as openai-whisper does."""
    keys = {name: str(i) for i, name in enumerate(checkpoint.tensors)}
    state = {
        rename(name): tensor(key, dtype, checkpoint.array(name).shape) for name, key in keys.items()
    }
    value = dict_of(state)
    if dims:
        numbers = {field: whole(n) for field, n in vars(checkpoint.dims).items()}
        value = dict_of({"dims": dict_of(numbers), "model_state_dict": value})
    storages = {key: narrow(checkpoint.array(name), dtype) for name, key in keys.items()}
    write_archive(path, value, storages)


def write_openai(path: Path, checkpoint: Checkpoint, dtype: str = "F16") -> None:
    """Write what openai-whisper loads."""
    write_state(path, checkpoint, dtype, openai_name, dims=True)


# whisper.cpp

_GGML_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8}


def write_ggml(path: Path, checkpoint: Checkpoint, dtype: str = "F16") -> None:
    """Write what whisper.cpp loads: matrices as `dtype`, vectors and positions as F32."""
    dims = checkpoint.dims
    with path.open("wb") as file:
        numbers = [dims.n_vocab, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head]
        numbers += [dims.n_audio_layer, dims.n_text_ctx, dims.n_text_state, dims.n_text_head]
        numbers += [dims.n_text_layer, dims.n_mels, 2000 + _GGML_TYPES[dtype]]
        file.write(struct.pack("<12i", 0x67676D6C, *numbers))
        file.write(struct.pack("<2i", dims.n_mels, 201) + bytes(4 * dims.n_mels * 201))
        texts = [text_bytes(known) for known in openai_texts(dims.n_vocab)]
        file.write(struct.pack("<i", len(texts)))
        file.writelines(struct.pack("<i", len(known)) + known for known in texts)
        for name in checkpoint.tensors:
            file.write(_ggml_record(openai_name(name), checkpoint.array(name), dtype))


def _ggml_record(name: str, values: NDArray[np.float32], dtype: str) -> bytes:
    if values.ndim == 1 or name.endswith("positional_embedding"):
        dtype = "F32"
    elif values.ndim == 3 and dtype != "F32":
        dtype = "F16"
    shape = (*values.shape, 1) if name.endswith(("conv1.bias", "conv2.bias")) else values.shape
    data = quantize(values, dtype) if dtype.startswith("Q") else narrow(values, dtype)
    header = struct.pack("<3i", len(shape), len(name), _GGML_TYPES[dtype])
    return header + struct.pack(f"<{len(shape)}i", *shape[::-1]) + name.encode() + data


def quantize(values: NDArray[np.float32], dtype: str) -> bytes:
    """Return `values` in ggml's blocks of 32: scale, minimum, fifth bits, numbers."""
    blocks = values.reshape(-1, 32)
    bits = int(dtype[1])
    if dtype == "Q8_0":
        scale = np.abs(blocks).max(axis=1, keepdims=True) / 127
        scale = scale.astype("<f2")
        numbers = np.rint(blocks / scale.astype(np.float32)).astype("i1")
        rows = [part.view(np.uint8).reshape(len(blocks), -1) for part in (scale, numbers)]
        return np.concatenate(rows, axis=1).tobytes()
    low, high = (f(axis=1, keepdims=True) for f in (blocks.min, blocks.max))
    if dtype.endswith("_1"):
        scale, minimum = ((high - low) / (2**bits - 1)).astype("<f2"), low.astype("<f2")
        numbers = (blocks - minimum.astype(np.float32)) / scale.astype(np.float32)
    else:
        middle = 2 ** (bits - 1)
        scale, minimum = (np.maximum(-low, high) / (middle - 1)).astype("<f2"), None
        numbers = blocks / scale.astype(np.float32) + middle
    codes = np.clip(np.rint(numbers), 0, 2**bits - 1).astype(np.uint8)
    nibbles = (codes[:, :16] & 15) | (codes[:, 16:] << 4)
    parts = [scale, *([] if minimum is None else [minimum])]
    if bits == 5:
        parts.append(np.packbits(codes >> 4, axis=1, bitorder="little"))
    rows = [part.view(np.uint8).reshape(len(blocks), -1) for part in (*parts, nibbles)]
    return np.concatenate(rows, axis=1).tobytes()


# CTranslate2

_CT2_TYPES = {"F32": 0, "int8": 1, "int16": 2, "F16": 4, "BF16": 5}


def write_ctranslate2(folder: Path, checkpoint: Checkpoint, dtype: str = "F16") -> None:
    """Write what faster-whisper loads, but for a tokenizer; matrices as `dtype` or "int8"."""
    folder.mkdir(parents=True, exist_ok=True)
    small = "F32" if dtype.startswith("int") else dtype
    variables = b"".join(
        _ct2_variable(name, values, dtype if values.ndim > 1 and "/weight" in name else small)
        for name, values in _ct2_arrays(checkpoint)
    )
    heads = {"encoder": checkpoint.dims.n_audio_head, "decoder": checkpoint.dims.n_text_head}
    for side, n_heads in heads.items():
        variables += _ct2_name(f"{side}/num_heads") + struct.pack("<BBIh", 0, 2, 2, n_heads)
    n_matrices = sum("/weight" in name and v.ndim > 1 for name, v in _ct2_arrays(checkpoint))
    n_variables = sum(1 for _ in _ct2_arrays(checkpoint)) + 2
    n_variables += n_matrices * dtype.startswith("int")
    start = struct.pack("<I", 6) + _ct2_name("WhisperSpec") + struct.pack("<2I", 3, n_variables)
    alias = _ct2_name("decoder/projection/weight") + _ct2_name("decoder/embeddings/weight")
    (folder / "model.bin").write_bytes(start + variables + struct.pack("<I", 1) + alias)
    config = {"alignment_heads": checkpoint.generation.alignment_heads}
    (folder / "config.json").write_text(json.dumps(config))


def _ct2_name(name: str) -> bytes:
    return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"


def _ct2_variable(name: str, values: NDArray[np.float32], dtype: str) -> bytes:
    scale = b""
    if dtype.startswith("int"):
        largest = np.abs(values).reshape(len(values), -1).max(axis=1)
        scales = (127 / largest if dtype == "int8" else 1024 / largest.max()).astype(np.float32)
        columns = scales.reshape(-1, *[1] * (values.ndim - 1))
        data = np.rint(values * columns).astype({"int8": "i1", "int16": "<i2"}[dtype]).tobytes()
        scale = _ct2_variable(f"{name}_scale", scales, "F32")
    else:
        data = narrow(values, dtype)
    shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
    return _ct2_name(name) + shape + struct.pack("<BI", _CT2_TYPES[dtype], len(data)) + data + scale


def _ct2_arrays(checkpoint: Checkpoint) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield CTranslate2's variables: biases of keys are zero, and layers of attention are fused."""
    dims, array = checkpoint.dims, checkpoint.array

    def pair(name: str, source: str, kind: tuple[str, str] = ("weight", "bias")) -> Any:
        return [
            (f"{name}/{k}", array(f"{source}.{o}"))
            for k, o in zip(kind, ("weight", "bias"), strict=True)
        ]

    def norm(name: str, source: str) -> Any:
        return pair(f"{name}/layer_norm", source, ("gamma", "beta"))

    def fused(name: str, source: str, letters: str) -> Any:
        zero = np.zeros(dims.n_text_state, np.float32)
        weights = [array(f"{source}.{c}_proj.weight") for c in letters]
        biases = [zero if c == "k" else array(f"{source}.{c}_proj.bias") for c in letters]
        return [
            (f"{name}/weight", np.concatenate(weights)),
            (f"{name}/bias", np.concatenate(biases)),
        ]

    for side, n_layers in (("encoder", dims.n_audio_layer), ("decoder", dims.n_text_layer)):
        yield f"{side}/position_encodings/encodings", array(f"model.{side}.embed_positions.weight")
        yield from norm(side, f"model.{side}.layer_norm")
        for i in range(n_layers):
            ours, theirs = f"model.{side}.layers.{i}", f"{side}/layer_{i}"
            yield from norm(f"{theirs}/self_attention", f"{ours}.self_attn_layer_norm")
            yield from fused(f"{theirs}/self_attention/linear_0", f"{ours}.self_attn", "qkv")
            yield from pair(f"{theirs}/self_attention/linear_1", f"{ours}.self_attn.out_proj")
            if side == "decoder":
                yield from norm(f"{theirs}/attention", f"{ours}.encoder_attn_layer_norm")
                yield from fused(f"{theirs}/attention/linear_0", f"{ours}.encoder_attn", "q")
                yield from fused(f"{theirs}/attention/linear_1", f"{ours}.encoder_attn", "kv")
                yield from pair(f"{theirs}/attention/linear_2", f"{ours}.encoder_attn.out_proj")
            yield from norm(f"{theirs}/ffn", f"{ours}.final_layer_norm")
            yield from pair(f"{theirs}/ffn/linear_0", f"{ours}.fc1")
            yield from pair(f"{theirs}/ffn/linear_1", f"{ours}.fc2")
    yield from pair("encoder/conv1", "model.encoder.conv1")
    yield from pair("encoder/conv2", "model.encoder.conv2")
    yield "decoder/embeddings/weight", array("model.decoder.embed_tokens.weight")
