"""Golden files, each with the versions of the packages that made it."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.places import GOLDEN
from whisper_npu_cli.checkpoints.huggingface import WEIGHTS_FILE

_PACKAGES = ("openai-whisper", "torch", "numpy")


def write_json(name: str, fields: dict[str, Any]) -> None:
    """Write `fields` to tests/golden/NAME with the versions of the packages that made them."""
    text = json.dumps({"provenance": list_versions(*_PACKAGES)} | fields, separators=(",", ":"))
    (GOLDEN / name).write_text(re.sub(r'("[^"]*":\[\{)', r"\n\1", text) + "\n")


def write_arrays(name: str, provenance: str, **arrays: Any) -> None:
    """Write `arrays` to tests/golden/NAME with their provenance."""
    np.savez_compressed(GOLDEN / name, provenance=np.array(provenance), **arrays)


def list_versions(*packages: str) -> str:
    """Return the packages with their versions."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def hash_weights(directory: Path) -> str:
    """Return the digest of a checkpoint's weights, by which a test notices another checkpoint."""
    return hashlib.sha256((directory / WEIGHTS_FILE).read_bytes()).hexdigest()
