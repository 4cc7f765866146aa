"""The name of a model -> its checkpoint, wherever it is.

A name is an alias (`base`), a repository (`openai/whisper-base`), a directory or file of any format
that `formats.py` knows, `demo` (comes with this package) or `random:SIZE` (computed). The network
is used only for what is in no cache.
"""

from __future__ import annotations

import os
from pathlib import Path

from whisper_npu_cli.checkpoints import formats, hub
from whisper_npu_cli.checkpoints.caches import ALIASES, find_copies
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.random import (
    RANDOM_PREFIX,
    RANDOM_SIZES,
    random_checkpoint,
    random_dims,
)
from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.errors import CheckpointError, suggest

DEMO = "demo"


def open_checkpoint(name: str, *, offline: bool) -> Checkpoint:
    """Return the checkpoint of a model by any kind of name; CheckpointError if it cannot be had.

    Downloads what is not in the cache, unless `offline` or HF_HUB_OFFLINE is set.
    """
    if name.startswith(RANDOM_PREFIX):
        return random_checkpoint(random_dims(name.removeprefix(RANDOM_PREFIX)), name=name)
    return formats.load(resolve(name, offline=offline), name)


def find_dims(name: str) -> ModelDims:
    """Return a model's dimensions: those of a published size need no file, others no network."""
    return random_dims(name) if name in RANDOM_SIZES else open_checkpoint(name, offline=True).dims


def resolve(name: str, *, offline: bool) -> Path:
    """Return the directory or file of a model that has one, downloading it unless `offline`."""
    if name.startswith(RANDOM_PREFIX):
        raise CheckpointError(f"model {name} is computed: it has no directory")
    found = find_local(name)
    if found:
        return found
    if offline or hub.is_offline():
        first = "unset HF_HUB_OFFLINE and " if hub.is_offline() else ""
        raise CheckpointError(
            f"model {name} is not in the cache {hub.cache_folder()}",
            hint=f"{first}run `whisper-npu models pull {name}` online; `whisper-npu models list` "
            "shows which models are here",
        )
    return hub.download(repository_of(name), name)


def find_local(name: str) -> Path | None:
    """Return the directory or file of a model that needs no download, or None."""
    if name == DEMO:
        return Path(__file__).parents[1] / "demo"
    if name in ALIASES:
        return next(find_copies(name), None)
    if name and os.path.lexists(Path(name).expanduser()):  # also a link to nothing, told later
        return Path(name).expanduser()
    return hub.find_cached(repository_of(name))


def repository_of(name: str) -> str:
    """Return the Hugging Face repository of an alias or repository; CheckpointError if neither."""
    repository = ALIASES.get(name, name)
    parts = repository.split("/")
    if len(parts) != 2 or not all(parts) or parts[0].startswith((".", "~")):
        raise CheckpointError(
            f"unknown model {name!r}: no alias, no directory or file, no ORGANISATION/REPOSITORY",
            hint=f"{suggest(name.removeprefix('whisper-'), [*ALIASES, DEMO])}"
            "`whisper-npu models list` shows the aliases",
        )
    return repository
