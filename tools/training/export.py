"""The trained weights -> the `demo` checkpoint's files in Hugging Face's Whisper layout."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.training.spec import ALIGNMENT_HEAD, DIMS, TOKENIZER_JSON
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint, GenerationSettings
from whisper_npu_cli.checkpoints.save import save_checkpoint


def export(weights: Mapping[str, NDArray[np.float32]], folder: Path) -> None:
    """Replace `folder`, but for its README, by a checkpoint of `weights` in fp16.

    Names are Hugging Face's without the `model.` in front.
    """
    checkpoint = Checkpoint(
        name=folder.name,
        path=None,
        dims=DIMS,
        generation=GenerationSettings(is_multilingual=True, alignment_heads=(ALIGNMENT_HEAD,)),
        tokenizer_json=TOKENIZER_JSON,
        tensors={f"model.{name}": values for name, values in weights.items()},
    )
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        save_checkpoint(checkpoint, made, "F16")
        if (folder / "README.md").exists():
            shutil.copy(folder / "README.md", made)
        if folder.exists():
            folder.replace(Path(scratch) / "old")
        made.replace(folder)
