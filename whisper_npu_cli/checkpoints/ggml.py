"""A model of whisper.cpp (`ggml-base.bin`), also quantized.

A file is little endian: magic, ten dimensions and a file type (i32 each); mel filters (two counts
and f32 numbers), which are not needed; a vocabulary (count; length and bytes of each text); then
tensors under openai's names until the end: number of dimensions, length of the name, type, the
dimensions from the last to the first, name, numbers (whisper.cpp `models/convert-pt-to-ggml.py`;
blocks of quantized numbers as in `stored.py`). It has no merges, so it is held to be of one of
OpenAI's vocabularies, and no alignment heads.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from whisper_npu_cli.checkpoints.binary import Cursor, open_cursor
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.openai import build_checkpoint
from whisper_npu_cli.checkpoints.stored import StoredTensor
from whisper_npu_cli.checkpoints.vocabularies import openai_texts, text_bytes
from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.errors import CheckpointError

MAGIC = 0x67676D6C
_HEADER_FIELDS = (
    *("n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer"),
    *("n_text_ctx", "n_text_state", "n_text_head", "n_text_layer", "n_mels"),
)
# `enum ggml_type`; types of blocks changed twice, and are these since quantization version 2
_DTYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0"}
_QUANTIZATION_VERSION, _VERSION_FACTOR = 2, 1000  # ftype = version * factor + type of file


def load(path: Path, name: str | None = None) -> Checkpoint:
    """Return the checkpoint in the file `path`; CheckpointError says what is wrong with it."""
    with open_cursor(path) as cursor:
        if cursor.unpack("i") != (MAGIC,):
            raise cursor.explain("no magic of ggml at its beginning")
        *numbers, ftype = cursor.unpack("11i")
        dims = ModelDims(**dict(zip(_HEADER_FIELDS, numbers, strict=True)))
        _skip_filters(cursor)
        _check_vocabulary(cursor, dims.n_vocab)
        stored: dict[str, StoredTensor] = {}
        while cursor.offset < cursor.n_bytes:
            tensor_name, tensor = _read_tensor(cursor, ftype // _VERSION_FACTOR)
            stored[tensor_name] = tensor
    return build_checkpoint(path, name, dims, stored)


def _skip_filters(cursor: Cursor) -> None:
    n_mels, n_frequencies = cursor.unpack("2i")
    if n_mels < 0:
        raise cursor.explain(f"{n_mels} mel filters")
    cursor.skip(4 * n_mels * n_frequencies)


def _check_vocabulary(cursor: Cursor, n_vocab: int) -> None:
    """Go behind the vocabulary; CheckpointError unless it is OpenAI's for `n_vocab` ids.

    Some converters write special tokens too, or leave out the empty one.
    """
    (n_texts,) = cursor.unpack("i")
    known = _encode_texts(n_vocab)
    expected = b"".join(known[:n_texts])
    if n_texts < len(known) - 1 or cursor.read(len(expected)) != expected:
        raise CheckpointError(f"{cursor.path}: its vocabulary is none of OpenAI's")
    for _ in range(n_texts - len(known)):
        cursor.skip(*cursor.unpack("i"))


@cache
def _encode_texts(n_vocab: int) -> list[bytes]:
    """Return length and bytes of each text, as a file has them."""
    texts = map(text_bytes, openai_texts(n_vocab))
    return [len(text).to_bytes(4, "little") + text for text in texts]


def _read_tensor(cursor: Cursor, quantization_version: int) -> tuple[str, StoredTensor]:
    n_dims, n_name, type_ = cursor.unpack("3i")
    dtype = _DTYPES.get(type_, "")
    if not 1 <= n_dims <= 3 or not dtype:
        raise cursor.explain(f"a tensor of {n_dims} dimensions and type {type_}")
    if dtype.startswith("Q") and quantization_version != _QUANTIZATION_VERSION:
        raise CheckpointError(
            f"{cursor.path}: quantized in version {quantization_version}, expected 2",
            hint="quantize it again with a whisper.cpp of this day",
        )
    shape = cursor.unpack(f"{n_dims}i")[::-1]
    name = cursor.read(n_name)
    if shape[1:] == (1,):  # biases of convolutions
        shape = shape[:1]
    tensor = StoredTensor(cursor.path, dtype, shape, cursor.offset)
    try:
        cursor.skip(tensor.n_bytes)
        return name.decode(), tensor
    except ValueError as error:
        raise cursor.explain(f"a tensor {name[:100]!r}: {error}") from error
