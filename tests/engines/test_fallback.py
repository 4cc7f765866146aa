"""The encoder of `auto`: the first engine until it fails, then the second, and told once."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.tiny_model import TINY_DIMS
from whisper_npu_cli.audio.mel import HostMel
from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.engines.base import EncodedWindow
from whisper_npu_cli.engines.fallback import FallbackEncoder
from whisper_npu_cli.errors import DeviceError

MEL = np.zeros((1, 1), np.float32)


class FakeEncoder:
    """Encodes `good` windows, then fails."""

    def __init__(self, name: str, good: int) -> None:
        self.name = name
        self.dims: ModelDims = TINY_DIMS
        self.leaves_cpu = name == "npu"
        self.good = good
        self.closed = 0

    def encode(self, mel: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> EncodedWindow:
        if not self.good:
            raise DeviceError(f"{self.name} failed")
        self.good -= 1
        return EncodedWindow(mel, mel, mel)

    mel_name, n_mel_frames = "npu", 100

    def compute_mel_power(self, _: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.encode(MEL).states

    def close(self) -> None:
        self.closed += 1


def test_the_second_takes_over_from_the_failed_window_on() -> None:
    npu, cpu = FakeEncoder("npu", 2), FakeEncoder("cpu", 9)
    failures: list[str] = []
    encoder = FallbackEncoder(npu, lambda: cpu, lambda error: failures.append(str(error)))
    used = []
    for _ in range(4):
        encoder.encode(MEL)
        used.append((encoder.name, encoder.leaves_cpu))
    assert used == [("npu", True)] * 2 + [("cpu", False)] * 2
    assert failures == ["npu failed"]
    assert npu.closed == 1
    encoder.close()
    assert cpu.closed == 1


def test_mel_power_is_the_host_s_from_the_failure_on() -> None:
    npu, cpu = FakeEncoder("npu", 1), FakeEncoder("cpu", 9)
    encoder = FallbackEncoder(npu, lambda: cpu, lambda _error: None)
    samples = np.random.default_rng(0).standard_normal(2_000).astype(np.float32)
    assert encoder.compute_mel_power(samples).shape == (1, 1)
    assert encoder.mel_name == "npu"
    power = encoder.compute_mel_power(samples)
    np.testing.assert_array_equal(power, HostMel(TINY_DIMS.n_mels).compute_power(samples))
    assert encoder.mel_name == ""
    assert encoder.name == "cpu"


def test_a_failure_of_the_second_is_raised() -> None:
    encoder = FallbackEncoder(
        FakeEncoder("npu", 0), lambda: FakeEncoder("cpu", 1), lambda _error: None
    )
    encoder.encode(MEL)
    with pytest.raises(DeviceError, match="cpu failed"):
        encoder.encode(MEL)
