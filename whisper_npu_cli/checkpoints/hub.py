"""A repository of the Hugging Face Hub -> its directory in the cache, downloaded where needed.

Each function imports `huggingface_hub` itself, because that takes a quarter of a second.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from whisper_npu_cli.checkpoints.ctranslate2 import MODEL_FILE
from whisper_npu_cli.checkpoints.huggingface import (
    INDEX_FILE,
    PYTORCH_FILE,
    WEIGHTS_FILE,
    describe_unread,
)
from whisper_npu_cli.checkpoints.safetensors import list_files, list_shards
from whisper_npu_cli.errors import CheckpointError

# The small files are downloaded first, so a download is complete when its weights are.
_SMALL_FILES = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer*.json",
    "vocabulary.*",  # CTranslate2's
    INDEX_FILE,
]
# The file that shows which weights a repository has, the best first -> what is downloaded of them.
# The patterns match no fp32 variants ("model.fp32-00001-of-00002.safetensors" in large-v3).
_WEIGHTS = {
    INDEX_FILE: [WEIGHTS_FILE, "model-*-of-*.safetensors"],
    WEIGHTS_FILE: [WEIGHTS_FILE],
    PYTORCH_FILE: [PYTORCH_FILE],
    MODEL_FILE: [MODEL_FILE],
}


def cache_folder() -> Path:
    """Return the Hugging Face cache: HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def is_offline() -> bool:
    """Return whether the user forbids downloads with HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def find_cached(repository: str) -> Path | None:
    """Return the directory of a completely downloaded repository, or None. Never goes online."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(repository, "config.json")
    except HFValidationError as error:
        raise CheckpointError(f"{repository!r} is no name of a repository: {error}") from error
    if not isinstance(config, str):
        return None
    directory = Path(config).parent
    return directory if _is_complete(directory) else None


def list_cached() -> Iterator[tuple[str, Path]]:
    """Yield the repositories in the cache that are completely downloaded, and their directories."""
    folders = list[Path]()
    with suppress(OSError):  # no cache yet, or one that cannot be read
        folders = sorted(cache_folder().iterdir())
    for folder in folders:
        kind, *parts = folder.name.split("--")
        with suppress(CheckpointError):  # it has no name of a repository, so it is none
            if kind == "models" and (directory := find_cached("/".join(parts))):
                yield "/".join(parts), directory


def _is_complete(directory: Path) -> bool:
    """Return whether all needed files are there; the client names a file once it is whole."""
    if (directory / MODEL_FILE).is_file():
        return True
    if not (directory / "tokenizer.json").is_file():
        return False
    if any((directory / file).is_file() for file in (WEIGHTS_FILE, PYTORCH_FILE)):
        return True
    try:
        shards = list_shards(directory / INDEX_FILE)
    except CheckpointError:
        return False
    return list_files(directory).issuperset(shards)


def download(repository: str, name: str) -> Path:
    """Download what a checkpoint needs of `repository`; return its directory in the cache.

    Shows progress on stderr where that is a terminal. Raises CheckpointError where it cannot be
    had, in words for a user who asked for the model `name`.
    """
    try:
        _download_files(repository, name)
    except CheckpointError:
        raise
    except Exception as error:  # its type depends on the version of the client and its HTTP library
        raise _explain(error, repository, name) from error
    directory = find_cached(repository)
    if not directory:  # the client returns as if all were well when the network fails midway
        raise _explain_failure(name, "incomplete")
    return directory


def _download_files(repository: str, name: str) -> None:
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    # Not list_repo_files: without a network it tries for half a minute.
    files = {file.rfilename for file in model_info(repository).siblings or ()}
    weights = _choose_weights(files, repository, name)
    for patterns in (_SMALL_FILES, weights):
        snapshot_download(repository, allow_patterns=patterns)


def _choose_weights(files: set[str], repository: str, name: str) -> list[str]:
    """Return patterns of a repository's weights; CheckpointError where it lacks a needed file."""
    shown_by = next((file for file in _WEIGHTS if file in files), WEIGHTS_FILE)
    needed = ["config.json", "tokenizer.json", shown_by]
    for file in needed if shown_by != MODEL_FILE else ["config.json"]:
        if file not in files:
            raise CheckpointError(
                f"model {name}: {repository} has no {file}{describe_unread(files)}",
                hint="convert it with transformers: save_pretrained(DIRECTORY), then give that",
            )
    return _WEIGHTS[shown_by]


def _explain(error: Exception, repository: str, name: str) -> CheckpointError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):  # a kind of RepositoryNotFoundError
        return CheckpointError(
            f"model {name}: the repository {repository} asks for a login",
            hint=f"accept its terms at huggingface.co/{repository}, then run `hf auth login`",
        )
    if isinstance(error, RepositoryNotFoundError):
        return CheckpointError(
            f"model {name}: there is no directory and no public repository {repository}",
            hint="`whisper-npu models list` shows the aliases",
        )
    return _explain_failure(name, " ".join([type(error).__name__, *str(error).splitlines()[:1]]))


def _explain_failure(name: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f"model {name} is not in the cache {cache_folder()} and cannot be downloaded ({reason})",
        hint="check the network; `whisper-npu models list` shows which models are here",
    )
