"""Repositories in a Hugging Face cache, without a download."""

from __future__ import annotations

from pathlib import Path

from tests.support.bad_checkpoints import write_good_checkpoint


def cache_repository(cache: Path, repository: str) -> Path:
    """Put a checkpoint into the cache as huggingface_hub lays it out; return its directory."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("c0ffee")
    write_good_checkpoint(root / "snapshots" / "c0ffee")
    return root / "snapshots" / "c0ffee"
