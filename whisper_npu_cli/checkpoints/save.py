"""A checkpoint -> a directory in Hugging Face's layout, which other programs can load.

Tests and benchmarks give other programs the random weights that this one computes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.huggingface import CONFIG_NAMES, WEIGHTS_FILE
from whisper_npu_cli.checkpoints.safetensors import write_tensors
from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.dims import (
    CHUNK_S,
    HOP_LENGTH,
    N_FFT,
    N_FRAMES,
    N_SAMPLES,
    SAMPLE_RATE,
    TOKENS_PER_SECOND,
)


def save_checkpoint(checkpoint: Checkpoint, directory: Path, dtype: str = "F32") -> None:
    """Write `checkpoint` to `directory`, its weights as `dtype`: "F32", "F16" or "BF16"."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = checkpoint.tokenizer()
    (directory / "tokenizer.json").write_bytes(checkpoint.tokenizer_json)
    _write_json(directory / "config.json", _build_config(checkpoint, tokenizer))
    _write_json(
        directory / "generation_config.json", _build_generation_config(checkpoint, tokenizer)
    )
    _write_json(directory / "preprocessor_config.json", _build_preprocessor_config(checkpoint))
    write_tensors(directory / WEIGHTS_FILE, checkpoint.tensors, dtype)


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2) + "\n")


def _name_special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    return {
        "decoder_start_token_id": tokenizer.sot,
        "bos_token_id": tokenizer.eot,
        "eos_token_id": tokenizer.eot,
        "pad_token_id": tokenizer.eot,
    }


def _build_config(checkpoint: Checkpoint, tokenizer: Tokenizer) -> dict[str, Any]:
    dims = checkpoint.dims
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        **{key: getattr(dims, field) for field, key in CONFIG_NAMES.items()},
        "encoder_ffn_dim": 4 * dims.n_audio_state,
        "decoder_ffn_dim": 4 * dims.n_text_state,
        "activation_function": "gelu",
        "scale_embedding": False,
        **_name_special_ids(tokenizer),
    }


def _build_generation_config(checkpoint: Checkpoint, tokenizer: Tokenizer) -> dict[str, Any]:
    settings = checkpoint.generation
    fields: dict[str, Any] = {
        "is_multilingual": settings.is_multilingual,
        # Without these two keys, other programs suppress tokens of their own choice.
        "suppress_tokens": [],
        "begin_suppress_tokens": [],
        "alignment_heads": settings.alignment_heads,
        "max_initial_timestamp_index": TOKENS_PER_SECOND,  # 1 s, as in openai/whisper
        "max_length": checkpoint.dims.n_text_ctx,
        "no_timestamps_token_id": tokenizer.no_timestamps,
        "prev_sot_token_id": tokenizer.sot_prev,
        **_name_special_ids(tokenizer),
    }
    if settings.is_multilingual:
        fields["lang_to_id"] = {f"<|{c}|>": i for c, i in tokenizer.language_ids.items()}
        fields["task_to_id"] = {
            "transcribe": tokenizer.transcribe,
            "translate": tokenizer.translate,
        }
    return fields


def _build_preprocessor_config(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": checkpoint.dims.n_mels,
        "sampling_rate": SAMPLE_RATE,
        "hop_length": HOP_LENGTH,
        "n_fft": N_FFT,
        "chunk_length": CHUNK_S,
        "n_samples": N_SAMPLES,
        "nb_max_frames": N_FRAMES,
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
