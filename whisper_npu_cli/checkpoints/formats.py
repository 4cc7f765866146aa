"""A folder or file of any format -> its checkpoint: the content tells the format, not the name."""

from __future__ import annotations

from contextlib import suppress
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
_SUFFIXES = (".safetensors", ".bin", ".pt", ".json")  # of a model's files
_LFS_BEGINNING = b"version https://git-lfs.github.com/spec/"
_OF_HUGGING_FACE = (huggingface.WEIGHTS_FILE, huggingface.INDEX_FILE, huggingface.PYTORCH_FILE)


def load(path: Path, name: str | None = None) -> Checkpoint:
    """Return the checkpoint in `path`; CheckpointError says what is wrong with it.

    Results call the model `name`, or as `path` is called where `name` is None.
    """
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    for file in files:
        if file.suffix in _SUFFIXES:
            _refuse_stand_in(file)
    return _LOADERS[tell_format(path)](path, name)


def _refuse_stand_in(path: Path) -> None:
    """Raise CheckpointError for a link to nothing, or for what Git LFS leaves in a file's place."""
    if path.is_symlink() and not path.exists():
        raise CheckpointError(
            f"{path}: a link to {path.readlink()}, which is not there",
            hint="bring back what it links to, or download the model again",
        )
    if not path.is_file():  # but a pipe or a device, whose reading may have no end
        return
    with suppress(OSError), open_unnoticed(path) as file:  # what cannot be read is told later
        if file.read(len(_LFS_BEGINNING)) == _LFS_BEGINNING:
            raise CheckpointError(
                f"{path}: a pointer of Git LFS, which stands for the file",
                hint="run `git lfs pull` where it was cloned, or download the model again",
            )


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
