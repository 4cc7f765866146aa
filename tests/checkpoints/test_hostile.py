"""What strangers may make of a checkpoint: nothing of it is run, and nothing outside is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.torture.hostile import HOSTILE, MARKER
from whisper_npu_cli.checkpoints import formats
from whisper_npu_cli.errors import CheckpointError

HARMLESS = ("a pattern that takes for ever",)  # Whisper's text is never long enough for it


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_checkpoint_is_refused_in_a_line(name: str, tmp_path: Path) -> None:
    path = HOSTILE[name](tmp_path)
    try:
        formats.load(path).tokenizer()
    except CheckpointError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
    else:
        assert name in HARMLESS
    assert not (tmp_path / MARKER).exists()
