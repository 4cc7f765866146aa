"""A folder or file of any format -> its checkpoint: the content tells the format, not the name."""

from __future__ import annotations

from pathlib import Path

from whisper_npu_cli.checkpoints import ctranslate2, ggml, huggingface, openai
from whisper_npu_cli.checkpoints.binary import open_unnoticed
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.errors import CheckpointError

HUGGING_FACE, CTRANSLATE2, OPENAI, GGML = "Hugging Face", "CTranslate2", "openai-whisper", "ggml"
_LOADERS = {
    HUGGING_FACE: huggingface.load,
    CTRANSLATE2: ctranslate2.load,
    OPENAI: openai.load,
    GGML: ggml.load,
}
_BEGINNINGS = {
    b"PK\3\4": OPENAI,
    ggml.MAGIC.to_bytes(4, "little"): GGML,
    ctranslate2.BEGINNING: CTRANSLATE2,
}
_OF_HUGGING_FACE = (huggingface.WEIGHTS_FILE, huggingface.INDEX_FILE, huggingface.PYTORCH_FILE)


def load(path: Path, name: str | None = None) -> Checkpoint:
    """Return the checkpoint in `path`; CheckpointError says what is wrong with it.

    Results call the model `name`, or as `path` is called where `name` is None.
    """
    return _LOADERS[tell_format(path)](path, name)


def is_whisper(folder: Path) -> bool:
    """Return whether a complete folder of Hugging Face or CTranslate2 says that it is a Whisper."""
    try:
        if tell_format(folder) == CTRANSLATE2:
            return tell_format(folder / ctranslate2.MODEL_FILE) == CTRANSLATE2
        return huggingface.read_json(folder / "config.json").get("model_type") == "whisper"
    except CheckpointError:
        return False


def tell_format(path: Path) -> str:
    """Return the format of a folder or file; CheckpointError where it is none of the four."""
    if path.is_dir():
        has_others = any((path / name).exists() for name in _OF_HUGGING_FACE)
        if has_others or not (path / ctranslate2.MODEL_FILE).exists():
            return HUGGING_FACE
        return CTRANSLATE2
    try:
        with open_unnoticed(path) as file:
            found = file.read(len(ctranslate2.BEGINNING))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    for beginning, format_ in _BEGINNINGS.items():
        if found.startswith(beginning):
            return format_
    raise CheckpointError(
        f"{path} is no checkpoint of a format that is known",
        hint="give a folder of Hugging Face or CTranslate2, a .pt of openai-whisper, or a ggml .bin"
        " of whisper.cpp",
    )
