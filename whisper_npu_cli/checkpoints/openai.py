"""A checkpoint of openai-whisper (`base.pt`), a file of `torch.save`.

It holds {"dims": the ten numbers, "model_state_dict": tensors under openai's names}, and neither a
tokenizer nor alignment heads (openai/whisper `__init__.py`, `load_model`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whisper_npu_cli.checkpoints.alignment import find_alignment_heads
from whisper_npu_cli.checkpoints.checkpoint import (
    MULTILINGUAL_N_VOCAB,
    Checkpoint,
    GenerationSettings,
    check_dims,
    expected_shapes,
)
from whisper_npu_cli.checkpoints.stored import StoredTensor, select_tensors
from whisper_npu_cli.checkpoints.torch_file import find_tensors, read_torch_file
from whisper_npu_cli.checkpoints.vocabularies import openai_tokenizer_json
from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.errors import CheckpointError

# Hugging Face's names of Whisper's modules -> openai-whisper's; the order matters.
_RENAMED = [
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"embed_positions\.weight", "positional_embedding"),
    (r"embed_tokens", "token_embedding"),
    (r"encoder_attn_layer_norm", "cross_attn_ln"),
    (r"self_attn_layer_norm", "attn_ln"),
    (r"encoder_attn", "cross_attn"),
    (r"self_attn", "attn"),
    (r"q_proj", "query"),
    (r"k_proj", "key"),
    (r"v_proj", "value"),
    (r"out_proj", "out"),
    (r"fc1", "mlp.0"),
    (r"fc2", "mlp.2"),
    (r"final_layer_norm", "mlp_ln"),
    (r"encoder\.layer_norm", "encoder.ln_post"),
    (r"decoder\.layer_norm", "decoder.ln"),
]


def openai_name(name: str) -> str:
    """Return openai-whisper's name of the tensor that Hugging Face calls `name`."""
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def load(path: Path, name: str | None = None) -> Checkpoint:
    """Return the checkpoint in the file `path`; CheckpointError says what is wrong with it."""
    saved = read_torch_file(path)
    if not isinstance(saved, dict) or not {"dims", "model_state_dict"} <= set(saved):
        raise CheckpointError(
            f"{path}: expected dims and model_state_dict, as openai-whisper saves them",
            hint="give the whole folder of a Hugging Face model",
        )
    tensors = find_tensors(saved["model_state_dict"], path)
    return build_checkpoint(path, name, _read_dims(saved["dims"], path), tensors)


def _read_dims(fields: Any, path: Path) -> ModelDims:
    try:
        return ModelDims(**fields)
    except TypeError as error:
        raise CheckpointError(f"{path}: dims are none of openai-whisper's ({error})") from error


def build_checkpoint(
    path: Path, name: str | None, dims: ModelDims, stored: Mapping[str, StoredTensor]
) -> Checkpoint:
    """Return a checkpoint of tensors under openai's names, with OpenAI's vocabulary and heads."""
    check_dims(dims, str(path), len(stored))
    shapes = expected_shapes(dims)
    names = {hugging_face: openai_name(hugging_face) for hugging_face in shapes}
    tensors = {ours: stored[theirs] for ours, theirs in names.items() if theirs in stored}
    tokenizer_json = openai_tokenizer_json(dims.n_vocab)
    if tokenizer_json is None:
        raise CheckpointError(f"{path}: {dims.n_vocab} ids, as no vocabulary of OpenAI has")
    return Checkpoint(
        name=name or path.resolve().name,
        path=path,
        dims=dims,
        generation=GenerationSettings(
            is_multilingual=dims.n_vocab >= MULTILINGUAL_N_VOCAB,
            alignment_heads=find_alignment_heads(dims, path),
        ),
        tokenizer_json=tokenizer_json,
        tensors=select_tensors(path, tensors, shapes),
    )
