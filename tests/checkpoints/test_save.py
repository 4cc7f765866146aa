"""Saved checkpoints: another program reads the weights, and this one reads all of it back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.support.bad_checkpoints import SMALL_DIMS, write_good_checkpoint
from whisper_npu_cli.checkpoints import huggingface
from whisper_npu_cli.checkpoints.checkpoint import GenerationSettings
from whisper_npu_cli.checkpoints.huggingface import WEIGHTS_FILE
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.checkpoints.save import save_checkpoint


@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_files_are_what_the_safetensors_library_reads(tmp_path: Path, dtype: str) -> None:
    write_good_checkpoint(tmp_path, dtype)
    ours = huggingface.load(tmp_path)
    theirs = load_file(tmp_path / WEIGHTS_FILE)
    assert set(theirs) == set(ours.tensors)
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours.array(name), values.astype(np.float32))


@pytest.mark.parametrize("is_multilingual", [False, True])
def test_all_but_the_weights_is_read_back_as_it_was(tmp_path: Path, is_multilingual: bool) -> None:
    settings = GenerationSettings(is_multilingual, alignment_heads=((0, 0),))
    saved = replace(random_checkpoint(SMALL_DIMS), generation=settings)
    save_checkpoint(saved, tmp_path)
    read = huggingface.load(tmp_path, saved.name)
    assert replace(read, path=None, tensors={}) == replace(saved, tensors={})
