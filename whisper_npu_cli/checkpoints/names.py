"""The name of a model -> its checkpoint: aliases, the Hugging Face cache, and the download.

A name is an alias (`base`), a repository (`openai/whisper-base`), a directory, `demo` (comes
with this package) or `random:SIZE`. What is in the cache or on disk never touches the network.
huggingface_hub is imported when a repository is looked for: it takes a quarter of a second.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from whisper_npu_cli.checkpoints.checkpoint import (
    INDEX_FILE,
    OTHER_WEIGHTS,
    WEIGHTS_FILE,
    Checkpoint,
    load_checkpoint,
)
from whisper_npu_cli.checkpoints.random import RANDOM_PREFIX, random_checkpoint, random_dims
from whisper_npu_cli.errors import CheckpointError

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
DEMO = "demo"

# The small files are downloaded first: where the weights are complete, all is.
_SMALL_FILES = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer*.json",
    INDEX_FILE,
]
# Not the fp32 variants beside them ("model.fp32-00001-of-00002.safetensors" in large-v3).
_WEIGHTS_FILES = [WEIGHTS_FILE, "model-*-of-*.safetensors"]


def open_checkpoint(name: str, *, offline: bool) -> Checkpoint:
    """Return the checkpoint of a model by any kind of name; CheckpointError if it cannot be had.

    Downloads what is not in the cache, unless `offline` or HF_HUB_OFFLINE is set.
    """
    if name.startswith(RANDOM_PREFIX):
        return random_checkpoint(random_dims(name.removeprefix(RANDOM_PREFIX)), name=name)
    return load_checkpoint(resolve(name, offline=offline), name)


def resolve(name: str, *, offline: bool) -> Path:
    """Return the directory of a model that has one, downloading it unless `offline`."""
    if name.startswith(RANDOM_PREFIX):
        raise CheckpointError(f"model {name} is computed: it has no directory")
    found = find_local(name)
    if found:
        return found
    repository = repository_of(name)
    if offline or _hub_is_offline():
        first = "unset HF_HUB_OFFLINE and " if _hub_is_offline() else ""
        raise CheckpointError(
            f"model {name} is not in the cache {cache_folder()}",
            hint=f"{first}run `whisper-npu models pull {name}` online, or use --model {DEMO}",
        )
    _download(name, repository)
    found = find_cached(repository)
    if not found:  # the client of the hub is content with a part when the network breaks down
        raise _not_downloaded(name, "incomplete")
    return found


def find_local(name: str) -> Path | None:
    """Return the directory of a model that needs no network, or None."""
    if name == DEMO:
        return Path(__file__).parents[1] / "demo"
    if name and name not in ALIASES and Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    return find_cached(repository_of(name))


def repository_of(name: str) -> str:
    """Return the Hugging Face repository of an alias or repository; CheckpointError if neither."""
    repository = ALIASES.get(name, name)
    parts = repository.split("/")
    if len(parts) != 2 or not all(parts) or parts[0].startswith((".", "~")):
        raise CheckpointError(
            f"unknown model {name!r}: no alias, no directory, no ORGANISATION/REPOSITORY",
            hint="`whisper-npu models list` shows the aliases",
        )
    return repository


def cache_folder() -> Path:
    """Return the Hugging Face cache: HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


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


def _is_complete(directory: Path) -> bool:
    """Return whether all that is needed is there: files appear under their names when whole."""
    if not (directory / "tokenizer.json").is_file():
        return False
    if (directory / WEIGHTS_FILE).is_file():
        return True
    try:
        weight_map = json.loads((directory / INDEX_FILE).read_bytes())["weight_map"]
    except (OSError, ValueError, KeyError):
        return False
    return all((directory / shard).is_file() for shard in set(weight_map.values()))


def _hub_is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _download(name: str, repository: str) -> None:
    """Fetch what is needed, with progress on stderr where that is a terminal."""
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        # Not list_repo_files: without a network it tries for half a minute.
        files = {file.rfilename for file in model_info(repository).siblings or ()}
        _check_files(name, repository, files)
        for patterns in (_SMALL_FILES, _WEIGHTS_FILES):
            snapshot_download(repository, allow_patterns=patterns)
    except CheckpointError:
        raise
    except GatedRepoError as error:
        raise CheckpointError(
            f"model {name}: the repository {repository} asks for a login",
            hint=f"accept its terms at huggingface.co/{repository}, then run `hf auth login`",
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"model {name}: there is no directory and no public repository {repository}",
            hint="`whisper-npu models list` shows the aliases",
        ) from error
    except Exception as error:  # what the client raises depends on its version and HTTP library
        reason = " ".join([type(error).__name__, *str(error).splitlines()[:1]])
        raise _not_downloaded(name, reason) from error


def _not_downloaded(name: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f"model {name} is not in the cache {cache_folder()} and cannot be downloaded ({reason})",
        hint=f"check the network, or use --model {DEMO}",
    )


def _check_files(name: str, repository: str, files: set[str]) -> None:
    """Raise CheckpointError where a repository lacks what is needed, before any download."""
    weights = WEIGHTS_FILE if INDEX_FILE not in files else INDEX_FILE
    for needed in ("config.json", "tokenizer.json", weights):
        if needed not in files:
            others = sorted(file for file in files if Path(file).suffix in OTHER_WEIGHTS)
            found = f", found {', '.join(others)}" if others else ""
            raise CheckpointError(
                f"model {name}: {repository} has no {needed}{found}",
                hint="convert it with transformers: save_pretrained(DIRECTORY), then give that",
            )
