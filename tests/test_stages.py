"""The stages of a transcription: a device encodes while this process decodes."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from whisper_npu_cli.encoder.base import EncodedWindow
from whisper_npu_cli.engine import Device, Engines
from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.reference import ReferenceDecoder
from whisper_npu_cli.stages import Stages
from whisper_npu_cli.timing import Timings
from whisper_npu_cli.weights import load_checkpoint

DEMO = load_checkpoint(Path(__file__).parents[1] / "whisper_npu_cli" / "demo")
MEL = np.zeros((1, 1), np.float32)
PATIENCE_S = 60.0  # for a thread of a busy machine


class Encoder:
    """Encodes when it is told to, and fails where a window is not a number."""

    name = "fake"
    dims = DEMO.dims

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def encode(self, mel: NDArray[np.float32]) -> EncodedWindow:
        self.begun.set()
        assert self.go_on.wait(PATIENCE_S)
        if np.isnan(mel).any():
            raise DeviceError("broken")
        return EncodedWindow(mel, mel, mel)

    def close(self) -> None: ...


def open_stages(encoder: Encoder, device: Device) -> Stages:
    engines = Engines(encoder, ReferenceDecoder(DEMO), device, "")
    return Stages(engines, DEMO.tokenizer(), TranscribeOptions(), Timings())


def test_a_device_encodes_meanwhile() -> None:
    encoder = Encoder()
    stages = open_stages(encoder, "npu")
    finish = stages.begin(MEL, 7)
    assert encoder.begun.wait(PATIENCE_S)  # and nobody waits for it
    assert not stages.windows
    encoder.go_on.set()
    assert np.array_equal(finish().states, MEL)
    assert [(window.seek, window.engine) for window in stages.windows] == [(7, "fake")]
    stages.cancel()


def test_cores_in_use_are_not_shared() -> None:
    encoder = Encoder()
    encoder.go_on.set()
    finish = open_stages(encoder, "cpu").begin(MEL, 0)
    assert not encoder.begun.is_set()
    finish()
    assert encoder.begun.is_set()


def test_a_failure_comes_when_its_window_is_asked_for() -> None:
    encoder = Encoder()
    encoder.go_on.set()
    stages = open_stages(encoder, "npu")
    good, bad = stages.begin(MEL, 0), stages.begin(MEL * np.float32("nan"), 1)
    good()
    with pytest.raises(DeviceError, match="broken"):
        bad()
    stages.cancel()


def test_what_was_begun_can_be_forgotten() -> None:
    encoder = Encoder()
    stages = open_stages(encoder, "npu")
    begun = [stages.begin(MEL, seek) for seek in range(9)]
    encoder.go_on.set()
    stages.cancel()
    assert len(begun) == 9
    assert not any(thread.name.startswith("ThreadPool") for thread in threading.enumerate())
