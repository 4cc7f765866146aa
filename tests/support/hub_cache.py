"""Repositories in a Hugging Face cache, without a download."""

from __future__ import annotations

from pathlib import Path

from tests.support.bad_checkpoints import write_good_checkpoint


def place_repository(cache: Path, repository: str) -> Path:
    """Make an empty directory in the cache where huggingface_hub lays a repository; return it."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("c0ffee")
    directory = root / "snapshots" / "c0ffee"
    directory.mkdir(parents=True)
    return directory


def cache_repository(cache: Path, repository: str) -> Path:
    """Put a checkpoint into the cache; return its directory."""
    directory = place_repository(cache, repository)
    write_good_checkpoint(directory)
    return directory
