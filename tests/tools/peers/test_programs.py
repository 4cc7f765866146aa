"""This program as the peers' tools run it. The peers are not needed."""

from __future__ import annotations

import pytest

from tests.support.places import SAMPLES
from tools.peers.programs import Ask, WhisperNpu
from whisper_npu_cli.errors import UsageError


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_options_without_effect_on_a_device_are_left_out(device: str) -> None:
    program = WhisperNpu("demo", 1, device=device)
    assert program.transcribe(Ask(str(sorted(SAMPLES.glob("*.wav"))[0])))[0]["text"]


def test_the_language_is_the_one_asked_for() -> None:
    with pytest.raises(UsageError):
        WhisperNpu("demo", 1).transcribe(Ask("unused.wav", language="nonsense"))
