"""Exporting the demo checkpoint: what training writes is what the package bundles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.places import DEMO
from tools.training.average import average
from tools.training.export import export
from tools.training.spec import TOKENIZER, WORD_IDS
from whisper_npu_cli.checkpoints import huggingface
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def demo() -> Checkpoint:
    return huggingface.load(DEMO)


def test_the_vocabulary_is_the_bundled_one(demo: Checkpoint) -> None:
    bundled = demo.tokenizer()
    assert bundled.decode(WORD_IDS) == " zero one two three four five six seven eight nine"
    names = ("n_vocab", "eot", "sot", "transcribe", "translate", "sot_prev", "no_speech")
    for name in (*names, "no_timestamps", "timestamp_begin", "language_ids"):
        assert getattr(TOKENIZER, name) == getattr(bundled, name), name


def test_exported_weights_load_as_the_bundled_checkpoint(demo: Checkpoint, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "README.md").write_text("kept")
    export({name.removeprefix("model."): demo.array(name) for name in demo.tensors}, folder)
    made = huggingface.load(folder)
    assert (made.dims, made.generation) == (demo.dims, demo.generation)
    for name in demo.tensors:  # fp16 in the bundle, so nothing is rounded
        np.testing.assert_array_equal(made.array(name), demo.array(name))
    assert (folder / "README.md").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_the_mean_of_checkpoints_is_rounded_once(demo: Checkpoint, tmp_path: Path) -> None:
    name = "model.encoder.conv1.bias"
    weights = {key.removeprefix("model."): demo.array(key) for key in demo.tensors}
    for folder, value in (("a", 1.0), ("b", 2.0), ("c", 2.0)):
        changed = {name.removeprefix("model."): np.full(demo.array(name).shape, np.float32(value))}
        export(weights | changed, tmp_path / folder)
    average(tmp_path / "mean", [tmp_path / folder for folder in "abc"])
    made = huggingface.load(tmp_path / "mean")
    assert np.unique(made.array(name)) == [np.float16(5 / 3)]
    assert made.generation == demo.generation
