"""The name of a model -> its checkpoint, wherever it is.

A name is an alias (`base`), a repository (`openai/whisper-base`), a directory, `demo` (comes
with this package) or `random:SIZE` (computed). The network is used only for a repository that is
not in the cache.
"""

from __future__ import annotations

from pathlib import Path

from whisper_npu_cli.checkpoints import hub, huggingface
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
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


def open_checkpoint(name: str, *, offline: bool) -> Checkpoint:
    """Return the checkpoint of a model by any kind of name; CheckpointError if it cannot be had.

    Downloads what is not in the cache, unless `offline` or HF_HUB_OFFLINE is set.
    """
    if name.startswith(RANDOM_PREFIX):
        return random_checkpoint(random_dims(name.removeprefix(RANDOM_PREFIX)), name=name)
    return huggingface.load(resolve(name, offline=offline), name)


def resolve(name: str, *, offline: bool) -> Path:
    """Return the directory of a model that has one, downloading it unless `offline`."""
    if name.startswith(RANDOM_PREFIX):
        raise CheckpointError(f"model {name} is computed: it has no directory")
    found = find_local(name)
    if found:
        return found
    if offline or hub.is_offline():
        first = "unset HF_HUB_OFFLINE and " if hub.is_offline() else ""
        raise CheckpointError(
            f"model {name} is not in the cache {hub.cache_folder()}",
            hint=f"{first}run `whisper-npu models pull {name}` online, or use --model {DEMO}",
        )
    return hub.download(repository_of(name), name)


def find_local(name: str) -> Path | None:
    """Return the directory of a model that needs no download, or None."""
    if name == DEMO:
        return Path(__file__).parents[1] / "demo"
    if name and name not in ALIASES and Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    return hub.find_cached(repository_of(name))


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
