"""Writes the `demo` checkpoint's files in Hugging Face's Whisper layout."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import torch
from demo_data import DIGITS
from safetensors.torch import save_file
from torch import Tensor


def byte_characters() -> list[str]:
    """GPT-2's printable characters for the 256 bytes, in the order of its vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(rest))]


def build_vocabulary() -> tuple[dict[str, int], list[str]]:
    """Bytes, then the prefixes of " zero" to " nine" as merges: each word is one token."""
    vocabulary = {c: i for i, c in enumerate(byte_characters())}
    merges = []
    for word in DIGITS:
        piece = "Ġ"  # the space in front
        for letter in word:
            if piece + letter not in vocabulary:
                vocabulary[piece + letter] = len(vocabulary)
                merges.append(f"{piece} {letter}")
            piece += letter
    return vocabulary, merges


TEXT, MERGES = build_vocabulary()
WORD_IDS = [TEXT[f"Ġ{word}"] for word in DIGITS]
SPACE = TEXT["Ġ"]
SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>",
    "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
TIMES = [f"<|{0.02 * k:.2f}|>" for k in range(1501)]
EOT, SOT, LANGUAGE, TRANSLATE, TRANSCRIBE, _, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = (
    len(TEXT) + i for i in range(len(SPECIAL))
)
TIME = NO_TIMESTAMPS + 1
VOCABULARY = TIME + len(TIMES)


def tokenizer_json() -> dict[str, object]:
    """The byte-level tokenizer as Whisper's, with this model's small vocabulary."""
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    added = [
        {
            "id": EOT + i,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": i < len(SPECIAL),
        }
        for i, token in enumerate((*SPECIAL, *TIMES))
    ]
    prompt = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")
    opening = [{"SpecialToken": {"id": token, "type_id": 0}} for token in prompt]
    closing = [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}]
    text = [{"Sequence": {"id": "A", "type_id": 0}}]
    ids = dict(zip((*SPECIAL, *TIMES), range(EOT, VOCABULARY), strict=True))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": opening + text + closing,
            "pair": opening + text + [{"Sequence": {"id": "B", "type_id": 1}}] + closing,
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]}
                for token in (*prompt, "<|endoftext|>")
            },
        },
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": TEXT,
            "merges": MERGES,
        },
    }


def config_files(width: int, heads: int, layers: int, decoder_layers: int) -> dict[str, object]:
    """Every JSON file of the checkpoint but the tokenizer's."""
    ids = {
        "bos_token_id": EOT,
        "eos_token_id": EOT,
        "pad_token_id": EOT,
        "decoder_start_token_id": SOT,
        "begin_suppress_tokens": [SPACE, EOT],
        "suppress_tokens": [],
    }
    return {
        "config.json": {
            "architectures": ["WhisperForConditionalGeneration"],
            "model_type": "whisper",
            "d_model": width,
            "encoder_attention_heads": heads,
            "encoder_layers": layers,
            "encoder_ffn_dim": 4 * width,
            "decoder_attention_heads": heads,
            "decoder_layers": decoder_layers,
            "decoder_ffn_dim": 4 * width,
            "num_hidden_layers": layers,
            "num_mel_bins": 80,
            "max_source_positions": 1500,
            "max_target_positions": 448,
            "max_length": 448,
            "vocab_size": VOCABULARY,
            "activation_function": "gelu",
            "is_encoder_decoder": True,
            "scale_embedding": False,
            "tie_word_embeddings": True,
            "torch_dtype": "float16",
            **ids,
        },
        "generation_config.json": {
            **ids,
            "alignment_heads": [[decoder_layers - 1, 0]],
            "is_multilingual": True,
            "lang_to_id": {"<|en|>": LANGUAGE},
            "task_to_id": {"transcribe": TRANSCRIBE, "translate": TRANSLATE},
            "max_initial_timestamp_index": 50,
            "max_length": 448,
            "no_timestamps_token_id": NO_TIMESTAMPS,
            "prev_sot_token_id": PREVIOUS,
            "return_timestamps": False,
        },
        "preprocessor_config.json": {
            "chunk_length": 30,
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": 80,
            "hop_length": 160,
            "n_fft": 400,
            "n_samples": 480000,
            "nb_max_frames": 3000,
            "padding_side": "right",
            "padding_value": 0.0,
            "processor_class": "WhisperProcessor",
            "return_attention_mask": False,
            "sampling_rate": 16000,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "WhisperTokenizer",
            "processor_class": "WhisperProcessor",
            "add_prefix_space": False,
            "bos_token": "<|endoftext|>",
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "errors": "replace",
            "model_max_length": 448,
            "clean_up_tokenization_spaces": False,
        },
    }


def export(weights: dict[str, Tensor], heads: int, folder: Path) -> None:
    """Replaces `folder` by the checkpoint: fp16 weights and the files beside them."""
    layers = 1 + max(int(n.split(".")[2]) for n in weights if n.startswith("encoder.layers."))
    decoder_layers = 1 + max(
        int(n.split(".")[2]) for n in weights if n.startswith("decoder.layers.")
    )
    width = weights["encoder.layer_norm.weight"].numel()
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        halves = {
            f"model.{name}": value.to(torch.float16).contiguous() for name, value in weights.items()
        }
        save_file(halves, made / "model.safetensors", metadata={"format": "pt"})
        (made / "model.safetensors").chmod(0o644)
        for name, content in config_files(width, heads, layers, decoder_layers).items():
            (made / name).write_text(json.dumps(content, indent=2) + "\n")
        (made / "tokenizer.json").write_text(
            json.dumps(tokenizer_json(), ensure_ascii=False) + "\n"
        )
        if (folder / "README.md").exists():
            shutil.copy(folder / "README.md", made)
        if folder.exists():
            folder.replace(Path(scratch) / "old")
        made.replace(folder)
