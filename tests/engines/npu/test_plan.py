"""The plan of every published encoder: consistent, addressable, and as short as was promised."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.tiny_model import TINY_DIMS
from whisper_npu_cli.checkpoints.random import RANDOM_SIZES, random_dims
from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.engines.npu.plan import (
    BASIS,
    FILTERS,
    HOST_MEL_MS,
    MEL_BESIDE_MS,
    MEL_WORKER_MS,
    PATCHES,
    SAMPLES,
    STATES,
    plan_encoder,
)
from whisper_npu_cli.engines.npu.timing_model import CLOCKS_MHZ
from whisper_npu_cli.errors import OverlayError

DISTILLED = replace(random_dims("large-v3"), n_text_layer=2)  # distil-large-v3


@pytest.mark.parametrize("dims", [*map(random_dims, RANDOM_SIZES), DISTILLED, TINY_DIMS], ids=str)
def test_commands_read_what_was_written(dims: ModelDims) -> None:
    plan = plan_encoder(dims)
    written = {PATCHES, "positions", SAMPLES, BASIS, FILTERS}
    written |= {name for name in plan.buffers if ".weights" in name}
    shapes: dict[str, tuple[int, int]] = {}
    for step in (*plan.mel, *plan.steps):
        *sources, target = step.buffers
        assert target not in sources
        assert set(sources) <= written, step.name
        written.add(target)
        for name, argument in zip(step.buffers, step.spec.arguments, strict=True):
            assert shapes.setdefault(name, argument.shape) == argument.shape, name
    layers = [layer for part in plan.cross for layer in part.layers]
    assert layers == list(range(dims.n_text_layer))
    assert {STATES, *(part.buffer for part in plan.cross)} <= written


def test_base_keeps_its_promises() -> None:
    plan = plan_encoder(random_dims("base"))
    assert len(plan.lists) <= 8
    assert len(plan.steps) <= 130
    # and at most 20 ms of the host beside the device (`bench` measures it): 128 ms a window
    assert plan.predict_ms(1800) + HOST_MEL_MS <= 108


@pytest.mark.parametrize("clock_mhz", [1028, 1800, 1e9])
@pytest.mark.parametrize("size", RANDOM_SIZES)
def test_the_longer_of_host_and_device_counts_in_flight(size: str, clock_mhz: float) -> None:
    plan = plan_encoder(random_dims(size))
    window = plan.predict_window(clock_mhz)
    beside_ms = window.device_ms + window.host_ms + window.mel_ms
    assert window.alone_ms == pytest.approx(beside_ms + MEL_BESIDE_MS)
    longer_ms = max(window.device_ms, window.host_ms)
    least_ms = longer_ms + window.mel_ms + MEL_WORKER_MS - 1e-9  # sums in another order
    assert least_ms <= window.in_flight_ms < window.alone_ms


def test_the_host_is_hidden_at_every_clock_of_the_chip() -> None:
    for window in map(plan_encoder(random_dims("base")).predict_window, CLOCKS_MHZ):
        hidden_ms = window.device_ms + window.mel_ms + MEL_WORKER_MS
        assert window.in_flight_ms == pytest.approx(hidden_ms, rel=0.01)  # conv2's list is short


@pytest.mark.parametrize("clock_mhz", [800, 1028, 1309, 1800])
@pytest.mark.parametrize("size", RANDOM_SIZES)
def test_what_is_chosen_is_the_fastest(size: str, clock_mhz: int) -> None:
    for decision in plan_encoder(random_dims(size)).decide(clock_mhz):
        assert decision.chosen_ms < decision.other_ms, decision


@pytest.mark.parametrize(
    "dims", [replace(TINY_DIMS, n_audio_state=256), replace(TINY_DIMS, n_audio_state=160)], ids=str
)
def test_what_the_overlay_cannot_serve_is_refused(dims: ModelDims) -> None:
    with pytest.raises(OverlayError, match="heads of at most 64"):
        plan_encoder(dims)
