"""`--exact`: the NPU's worker process runs the overlay's sources on the simulated array."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_model import TINY_DIMS
from whisper_npu_cli.checkpoints import huggingface
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.checkpoints.save import save_checkpoint
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.engines.base import EncodedWindow
from whisper_npu_cli.engines.npu import remote
from whisper_npu_cli.engines.npu.remote import RemoteNpuEncoder
from whisper_npu_cli.errors import OverlayError

DIMS = replace(TINY_DIMS, n_audio_layer=1, n_text_layer=1)
MEL = np.random.default_rng(3).uniform(-1, 1, (DIMS.n_mels, N_FRAMES)).astype(np.float32)


def test_the_array_encodes_what_the_standin_encodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(random_checkpoint(DIMS), tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    checkpoint = huggingface.load(Path("model"), "./model")  # relative, as on a command line

    def encode(*, exact: bool) -> EncodedWindow:
        with closing(RemoteNpuEncoder(checkpoint, "sim", exact=exact)) as encoder:
            return encoder.encode(MEL)

    plain, exact = encode(exact=False), encode(exact=True)
    for field in ("states", "cross_keys", "cross_values"):
        assert np.array_equal(getattr(exact, field), getattr(plain, field))
    assert exact.proof is not None
    assert plain.proof is not None
    # The designs predict another time than the timing model does: so they ran.
    assert exact.proof.device_ms != plain.proof.device_ms


def test_exact_needs_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CHECKOUT", tmp_path)
    with pytest.raises(OverlayError, match="only a checkout has what"):
        RemoteNpuEncoder(random_checkpoint(DIMS), "sim", exact=True)
