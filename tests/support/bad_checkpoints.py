"""A small good checkpoint directory, and every way to break it with the words of its error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from whisper_npu_cli.checkpoints.huggingface import INDEX_FILE, WEIGHTS_FILE
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.checkpoints.save import save_checkpoint
from whisper_npu_cli.dims import N_FRAMES, ModelDims

SMALL_DIMS = ModelDims(
    n_mels=80,
    n_audio_ctx=N_FRAMES // 2,
    n_audio_state=64,
    n_audio_head=1,
    n_audio_layer=1,
    n_vocab=1900,  # 256 bytes, Whisper's 1608 special tokens, and a few words
    n_text_ctx=32,
    n_text_state=64,
    n_text_head=1,
    n_text_layer=1,
)
FC1 = "model.decoder.layers.0.fc1.weight"


def write_good_checkpoint(directory: Path, dtype: str = "F32") -> None:
    """Write the checkpoint that the cases below break."""
    save_checkpoint(random_checkpoint(SMALL_DIMS), directory, dtype)


def edit_json(path: Path, **changes: Any) -> None:
    """Set fields of a JSON file; None removes one."""
    fields = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in fields.items() if v is not None}))


def edit_header(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the header of a safetensors file and leave its data."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    edit(header)
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + content[end:])


def _config(**changes: Any) -> Callable[[Path], None]:
    return lambda directory: edit_json(directory / "config.json", **changes)


def _generation(**changes: Any) -> Callable[[Path], None]:
    return lambda directory: edit_json(directory / "generation_config.json", **changes)


def _header(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return lambda directory: edit_header(directory / WEIGHTS_FILE, edit)


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        (directory / name).write_bytes(content)

    return write


def _remove(*names: str) -> Callable[[Path], None]:
    def remove(directory: Path) -> None:
        for name in names:
            (directory / name).unlink()

    return remove


def _only_pytorch(directory: Path) -> None:
    (directory / WEIGHTS_FILE).rename(directory / "pytorch_model.bin")


def _truncate(directory: Path) -> None:
    content = (directory / WEIGHTS_FILE).read_bytes()
    (directory / WEIGHTS_FILE).write_bytes(content[: len(content) // 2])


def _shard_missing(directory: Path) -> None:
    (directory / WEIGHTS_FILE).rename(directory / "model-00001-of-00002.safetensors")
    weight_map = {FC1: "model-00002-of-00002.safetensors"}
    (directory / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}))


def _shard_is_a_number(directory: Path) -> None:
    (directory / WEIGHTS_FILE).unlink()
    (directory / INDEX_FILE).write_text(json.dumps({"weight_map": {FC1: 5}}))


def _index_damaged(directory: Path) -> None:
    (directory / WEIGHTS_FILE).unlink()
    (directory / INDEX_FILE).write_text("[]")


def _foreign_tokenizer(directory: Path) -> None:
    other = random_checkpoint(replace(SMALL_DIMS, n_vocab=2000))
    (directory / "tokenizer.json").write_bytes(other.tokenizer_json)


def _swap_shape(header: dict[str, Any]) -> None:
    header[FC1]["shape"].reverse()


@dataclass(frozen=True)
class BadCheckpoint:
    """One way to break a checkpoint, and a part of the message it must lead to."""

    id: str
    damage: Callable[[Path], None]
    phrase: str

    def build(self, directory: Path) -> Path:
        """Write the broken checkpoint to `directory` and return it."""
        write_good_checkpoint(directory)
        self.damage(directory)
        return directory


BAD_CHECKPOINTS = tuple(
    BadCheckpoint(*case)
    for case in [
        ("no-config", _remove("config.json"), "no Whisper checkpoint: cannot read config.json"),
        ("config-no-json", _write("config.json", b"{,"), "config.json: expected JSON"),
        ("config-no-object", _write("config.json", b"[]"), "expected a JSON object, found list"),
        ("other-model", _config(model_type="bert"), "model_type 'bert', expected 'whisper'"),
        ("no-width", _config(d_model=None), "positive whole number for d_model, found None"),
        ("bad-layers", _config(decoder_layers="4"), "for decoder_layers, found '4'"),
        ("other-window", _config(max_source_positions=750), "expected 1500 for n_audio_ctx"),
        ("other-activation", _config(activation_function="relu"), "expected 'gelu'"),
        ("heads", _config(encoder_attention_heads=7), "to be a multiple of the attention heads"),
        ("no-tokenizer", _remove("tokenizer.json"), "cannot read tokenizer.json"),
        ("bad-tokenizer", _write("tokenizer.json", b"{}"), "tokenizer.json is damaged"),
        ("foreign-tokenizer", _foreign_tokenizer, "expected at most 1900 ids"),
        ("bad-generation", _write("generation_config.json", b""), "config.json: expected JSON"),
        ("generation-types", _generation(alignment_heads=7), "expected pairs of numbers"),
        ("no-weights", _remove(WEIGHTS_FILE), "no weights: expected model.safetensors"),
        ("only-pytorch", _only_pytorch, "pytorch_model.bin: damaged file of torch.save"),
        ("no-tensor", _header(lambda h: h.pop(FC1)), f"missing tensor {FC1}, expected shape (256,"),
        ("shape", _header(_swap_shape), f"{FC1}: expected shape (256, 64), found (64, 256)"),
        ("dtype", _header(lambda h: h[FC1].update(dtype="I32")), "F32, F16, BF16, found I32"),
        ("range", _header(lambda h: h[FC1].update(data_offsets=[0, 4])), "in 4 bytes"),
        ("truncated", _truncate, "truncated: expected"),
        ("empty", _write(WEIGHTS_FILE, b""), "found 0 in a file of 0 bytes"),
        ("lfs-pointer", _write(WEIGHTS_FILE, b"version https://git-lfs"), "damaged safetensors"),
        ("header", _write(WEIGHTS_FILE, b"\4" + bytes(7) + b"{{{{"), "damaged safetensors header"),
        ("shard", _shard_missing, "names model-00002-of-00002.safetensors, which is missing"),
        ("shard-number", _shard_is_a_number, "names 5, which is missing"),
        ("index", _index_damaged, "damaged index: expected JSON with a weight_map"),
    ]
)
