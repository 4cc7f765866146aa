"""The NPU encoder on the stand-in: depth, and devices that spoil a result amid a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.digits import compose_clips
from tests.support.tiny_model import TINY_DIMS
from whisper_npu_cli.audio.mel import HostMel, log_mel
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.checkpoints.random import random_checkpoint, random_dims
from whisper_npu_cli.dims import N_FRAMES, ModelDims
from whisper_npu_cli.engines.base import EncodedWindow
from whisper_npu_cli.engines.mel import EncoderMel
from whisper_npu_cli.engines.npu.encoder import NpuEncoder
from whisper_npu_cli.engines.npu.manifest import Manifest
from whisper_npu_cli.engines.npu.plan import plan_encoder
from whisper_npu_cli.engines.npu.standin import build, chip, pyxrt
from whisper_npu_cli.engines.npu.standin.faults import Fault
from whisper_npu_cli.engines.npu.standin.open import open_standin
from whisper_npu_cli.engines.npu.timing_model import SWITCH_MS
from whisper_npu_cli.engines.npu.xrt import XrtRuntime
from whisper_npu_cli.engines.reference import ReferenceEncoder
from whisper_npu_cli.errors import DeviceError, OverlayError

SHALLOW = replace(TINY_DIMS, n_audio_layer=1, n_text_layer=1)
MEL = np.random.default_rng(5).uniform(-1, 1, (TINY_DIMS.n_mels, N_FRAMES)).astype(np.float32)


def open_encoder(folder: Path, dims: ModelDims) -> NpuEncoder:
    specs = plan_encoder(dims).specs
    return NpuEncoder(random_checkpoint(dims), *open_standin(folder, specs))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NpuEncoder]:
    opened = open_encoder(tmp_path_factory.mktemp("overlay"), SHALLOW)
    yield opened
    opened.close()
    assert not chip.get_current().contexts


@pytest.mark.parametrize("kind", ["zeros", "nan", "garbage", "skip"])
@pytest.mark.parametrize("step", ["post_norm", "cross.0"])
def test_spoilt_results_are_noticed(encoder: NpuEncoder, step: str, kind: str) -> None:
    machine = chip.get_current()
    names = [planned.name for planned in plan_encoder(SHALLOW).steps]
    machine.faults = (Fault(kind, machine.n_commands + names.index(step)),)
    with pytest.raises(DeviceError, match=r"the NPU re(turned|ported)"):
        encoder.encode(MEL)
    machine.faults = ()
    encoder.encode(MEL)


def test_windows_in_flight_are_those_encoded_alone(encoder: NpuEncoder) -> None:
    mels = [MEL, -MEL, MEL[:, ::-1]]
    windows = [EncodedWindow.empty(SHALLOW, np.uint16) for _ in mels]
    proofs = list(encoder.encode_into(zip(mels, windows, strict=True)))
    assert len(proofs) == len(mels)
    for mel, window in zip(mels, windows, strict=True):
        alone = encoder.encode(mel)
        for field in ("states", "cross_keys", "cross_values"):
            assert np.array_equal(getattr(window, field), getattr(alone, field))


@pytest.mark.parametrize("window", [0, 1])
def test_a_result_spoilt_in_flight_is_noticed(encoder: NpuEncoder, window: int) -> None:
    machine, n_steps = chip.get_current(), len(plan_encoder(SHALLOW).steps)
    machine.faults = (Fault("garbage", machine.n_commands + (window + 1) * n_steps - 1),)
    windows = [EncodedWindow.empty(SHALLOW, np.uint16) for _ in range(3)]
    proofs = encoder.encode_into(zip([MEL] * 3, windows, strict=True))
    for _ in range(window):
        next(proofs)
    with pytest.raises(DeviceError, match="the NPU returned"):
        next(proofs)
    machine.faults = ()
    encoder.encode(MEL)


@pytest.mark.parametrize("kind", ["zeros", "nan", "garbage", "skip"])
@pytest.mark.parametrize("step", ["spectrum", "filters"])
def test_spoilt_spectra_are_noticed(encoder: NpuEncoder, step: str, kind: str) -> None:
    samples = np.random.default_rng(6).standard_normal(32_000).astype(np.float32)
    encoder.compute_mel_power(-samples[:16_000])  # what is not written is of other samples
    machine = chip.get_current()
    names = [planned.name for planned in plan_encoder(SHALLOW).mel]
    machine.faults = (Fault(kind, machine.n_commands + names.index(step)),)
    with pytest.raises(DeviceError, match=r"the NPU re(turned|ported)"):
        encoder.compute_mel_power(samples)
    machine.faults = ()
    assert encoder.compute_mel_power(samples).shape == (SHALLOW.n_mels, 198)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("loudness", [1.0, 1e-4])
def test_the_log_mel_is_whispers(tmp_path: Path, n_mels: int, loudness: float) -> None:
    """As `audio/mel.py` computes it, which is held to openai-whisper's; clamped alike."""
    encoder = open_encoder(tmp_path, replace(SHALLOW, n_mels=n_mels))
    clips = [clip.samples for clip in compose_clips(8)]
    samples = np.concatenate([*clips, *(clip * np.float32(1e-3) for clip in clips)])
    samples = samples * np.float32(loudness)
    found, wanted = (
        log_mel(samples, EncoderMel(encoder, nullcontext())),
        log_mel(samples, HostMel(n_mels)),
    )
    # the rounding of parts is noise 130 dB below a frame's loudest band, 50 below Whisper's clamp:
    # there it is a 300th of an amplitude, and less than that of a log-mel
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
    assert np.sqrt(np.square(found - wanted).mean()) < 3e-5


def test_two_overlays_encode_what_one_does(tmp_path: Path) -> None:
    """What is built where a core cannot hold all operations."""
    parts = []
    for name, ops in (("rows", ("gemm", "layernorm", "spectrum")), ("heads", ("attention",))):
        (tmp_path / name).mkdir()
        specs = [spec for spec in plan_encoder(SHALLOW).specs if spec.op in ops]
        (built,) = build.build_overlay(tmp_path / name, specs).overlays
        streams = tuple(replace(stream, insts=f"{name}/{stream.insts}") for stream in built.streams)
        parts.append(replace(built, name=name, xclbin=f"{name}/{built.xclbin}", streams=streams))
    manifest = Manifest(tmp_path / "manifest.json", "", {}, tuple(parts))
    machine = chip.plug_in(chip.Chip(build.make_operators(manifest)))
    runtime = XrtRuntime(pyxrt, lambda: machine.elapsed_ms / 1000)
    two = NpuEncoder(random_checkpoint(SHALLOW), runtime, manifest)
    assert len(machine.contexts) == 2
    window = two.encode(MEL)
    (tmp_path / "one").mkdir()
    expected = open_encoder(tmp_path / "one", SHALLOW).encode(MEL)
    assert np.array_equal(window.cross_keys, expected.cross_keys)
    assert window.proof is not None
    assert expected.proof is not None
    assert window.proof.n_submissions == expected.proof.n_submissions + 2  # around attention
    assert window.proof.device_ms == pytest.approx(expected.proof.device_ms + 2 * SWITCH_MS)


def test_a_missing_stream_is_named(tmp_path: Path) -> None:
    specs = plan_encoder(SHALLOW).specs
    with pytest.raises(OverlayError, match=f"has stream {specs[-1].name}"):
        NpuEncoder(random_checkpoint(SHALLOW), *open_standin(tmp_path, specs[:-1]))


DEEP = replace(TINY_DIMS, n_audio_layer=32, n_text_layer=1)


@pytest.mark.parametrize(
    ("make", "least"),
    [
        # bf16 operands alone give tiny 0.99991, and 0.995 at the 32 layers of large-v3
        # (whisper-xdna, measured)
        (lambda: open_checkpoint("demo", offline=True), 0.9995),
        pytest.param(
            lambda: random_checkpoint(random_dims("tiny")), 0.9995, marks=pytest.mark.slow
        ),
        pytest.param(lambda: random_checkpoint(DEEP), 0.995, marks=pytest.mark.slow),
    ],
    ids=["demo", "random:tiny", "32 layers"],
)
def test_states_point_where_the_reference_s_do(
    tmp_path: Path, make: Callable[[], Checkpoint], least: float
) -> None:
    checkpoint = make()
    mel = compose_clips(1)[0].mel(checkpoint.dims.n_mels)
    specs = plan_encoder(checkpoint.dims).specs
    window = NpuEncoder(checkpoint, *open_standin(tmp_path, specs)).encode(mel).widen()
    expected = ReferenceEncoder(checkpoint).encode(mel)
    for field in ("states", "cross_keys", "cross_values"):
        got, want = (getattr(x, field).astype(np.float64).ravel() for x in (window, expected))
        assert got @ want / np.sqrt((got @ got) * (want @ want)) >= least, field
