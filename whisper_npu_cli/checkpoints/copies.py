"""The models of this machine's caches: what each is, how large, when it was used; and deleting one.

Nothing that lies outside the caches of `caches.py` is found here, so nothing else is deleted. A
program that has a model open keeps it: its files only lose their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from whisper_npu_cli.checkpoints import formats, hub
from whisper_npu_cli.checkpoints.caches import ALIASES, find_copies, list_quantized
from whisper_npu_cli.errors import CheckpointError, OutputError, suggest

if TYPE_CHECKING:
    from huggingface_hub import DeleteCacheStrategy


@dataclass(frozen=True)
class Copy:
    """A model on this machine: a folder or a file, and what `--model` may call it."""

    name: str
    path: Path

    @property
    def repository(self) -> str | None:
        """The repository in the Hugging Face cache; None for a file."""
        if self.path.parent.name != "snapshots":
            return None
        return "/".join(self.path.parents[1].name.split("--")[1:])

    @property
    def format(self) -> str:
        """The format of its weights, in words."""
        try:
            return formats.tell_format(self.path)
        except CheckpointError:
            return "unknown"

    @property
    def size_bytes(self) -> int:
        """The size of its files."""
        return sum(file.stat().st_size for file in self._files)

    @property
    def used_s(self) -> float:
        """When its weights were last read, in seconds since 1970.

        That is as exact as the file system notes it: Linux usually does so once a day.
        """
        return max(self._files, key=lambda file: file.stat().st_size).stat().st_atime

    @cached_property
    def _files(self) -> list[Path]:
        files = self.path.iterdir() if self.path.is_dir() else [self.path]
        return [file for file in files if file.is_file()]


def list_copies() -> list[Copy]:
    """Return the models of the caches: those of the aliases, each the best first, then others."""
    copies = [Copy(alias, path) for alias in ALIASES for path in find_copies(alias)]
    named = {copy.path for copy in copies}
    cached = [Copy(name, path) for name, path in hub.list_cached() if path not in named]
    others = (copy for copy in cached if formats.is_whisper(copy.path))
    return [*copies, *others, *(Copy(str(path), path) for path in list_quantized())]


def find_removable(name: str) -> list[Copy]:
    """Return the copies that an alias, a repository or a path means; CheckpointError for none."""
    copies = list_copies()
    found = {c.path: c for c in copies if name in (c.name, c.repository, str(c.path))}
    if not found:
        names = {copy.name for copy in copies}
        raise CheckpointError(
            f"model {name} is in none of the caches",
            hint=f"{suggest(name, names)}`whisper-npu models list` shows what is; "
            "a model elsewhere is yours to delete",
        )
    return list(found.values())


class Deletion:
    """The deletion of copies: what it frees is known before it is done."""

    def __init__(self, copies: Sequence[Copy]) -> None:
        """Find out what goes; CheckpointError where a repository's folder is damaged."""
        self._paths = [copy.path for copy in copies]
        self._files = [copy.path for copy in copies if copy.repository is None]
        folders = [copy.path for copy in copies if copy.repository is not None]
        self._strategies = list(_plan(folders))
        n_bytes = sum(file.lstat().st_size for file in self._files)  # of a link, not its target
        self.size_bytes = n_bytes + sum(one.expected_freed_size for one in self._strategies)

    def execute(self) -> None:
        """Delete; OutputError where something cannot be deleted."""
        for strategy in self._strategies:
            strategy.execute()
        for file in self._files:
            with suppress(OSError):  # it is told below
                file.unlink(missing_ok=True)
        for path in self._paths:
            if path.exists():
                raise OutputError(f"{path}: cannot be deleted", hint="see whose it is: ls -ld")


def _plan(snapshots: Sequence[Path]) -> Iterator[DeleteCacheStrategy]:
    """Yield how to delete snapshots, each with the blobs and names that no other one shares."""
    from huggingface_hub import scan_cache_dir

    if not snapshots:
        return
    cache = hub.cache_folder().resolve()
    scanned = scan_cache_dir(cache)
    for path in map(Path.resolve, snapshots):
        # Copies of a repository may have its commits, so the commit alone is not enough.
        repos = [repo for repo in scanned.repos if repo.repo_path == path.parents[1]]
        if not repos:
            raise CheckpointError(
                f"{path.parents[1]}: is damaged", hint="delete the folder to have it downloaded"
            )
        strategy = replace(scanned, repos=frozenset(repos)).delete_revisions(path.name)
        # A link in a snapshot may have been made by hand, to anywhere.
        blobs = frozenset(blob for blob in strategy.blobs if blob.is_relative_to(cache))
        yield replace(strategy, blobs=blobs)
