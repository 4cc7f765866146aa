"""Where the models of an alias lie on this machine: in our cache, and in those of other programs.

    safetensors      the Hugging Face cache, repository of the alias
    openai-whisper   XDG_CACHE_HOME/whisper/NAME.pt, else ~/.cache/whisper (its `load_model`)
    faster-whisper   the Hugging Face cache, repository of CTranslate2's weights (its `_MODELS`)
    whisper.cpp      ./models/ggml-NAME.bin (its `models/download-ggml-model.sh`)

That is also the order in which they are taken: the first has the most digits, and whisper.cpp's may
have been quantized. Never goes online.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from whisper_npu_cli.checkpoints import hub
from whisper_npu_cli.checkpoints.binary import open_unnoticed
from whisper_npu_cli.environment import find_cache_folder

ALIASES = {
    "tiny": "openai/whisper-tiny",
    "tiny.en": "openai/whisper-tiny.en",
    "base": "openai/whisper-base",
    "base.en": "openai/whisper-base.en",
    "small": "openai/whisper-small",
    "small.en": "openai/whisper-small.en",
    "medium": "openai/whisper-medium",
    "medium.en": "openai/whisper-medium.en",
    "large-v1": "openai/whisper-large",
    "large-v2": "openai/whisper-large-v2",
    "large-v3": "openai/whisper-large-v3",
    "large": "openai/whisper-large-v3",
    "large-v3-turbo": "openai/whisper-large-v3-turbo",
    "turbo": "openai/whisper-large-v3-turbo",
    "distil-small.en": "distil-whisper/distil-small.en",
    "distil-medium.en": "distil-whisper/distil-medium.en",
    "distil-large-v2": "distil-whisper/distil-large-v2",
    "distil-large-v3": "distil-whisper/distil-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5",
}
# Aliases that are another's: other programs call their files by the second name.
_SAME = {"large": "large-v3", "turbo": "large-v3-turbo"}
_FASTER_WHISPER = {
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}


def find_copies(alias: str) -> Iterator[Path]:
    """Yield the folders and files that have the model of an alias, the best first."""
    name = _SAME.get(alias, alias)
    found = [
        hub.find_cached(ALIASES[alias]),
        _whole_archive((find_cache_folder() or Path()) / "whisper" / f"{name}.pt"),
        hub.find_cached(_faster_whisper_repository(name)),
        _whole_file(Path("models") / f"ggml-{name}.bin"),
    ]
    return (path for path in found if path)


def list_quantized() -> list[Path]:
    """Return whisper.cpp's other files here: quantized, or not of an alias."""
    files = sorted(Path("models").glob("ggml-*.bin"))
    return [file for file in files if file.stem.removeprefix("ggml-") not in ALIASES]


def _faster_whisper_repository(name: str) -> str:
    prefix = "faster-distil-whisper" if name.startswith("distil-") else "faster-whisper"
    usual = f"Systran/{prefix}-{name.removeprefix('distil-')}"
    return _FASTER_WHISPER.get(name, usual)


def _whole_file(path: Path) -> Path | None:
    return path if path.is_file() else None


def _whole_archive(path: Path) -> Path | None:
    """Return the file unless its download was interrupted: an archive's index is at its end."""
    if not path.is_file():
        return None
    with open_unnoticed(path) as file:
        return path if zipfile.is_zipfile(file) else None
