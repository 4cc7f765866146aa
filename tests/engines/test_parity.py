"""Every encoder engine computes what the reference engine computes, on recorded speech."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.places import GOLDEN
from tests.support.tiny_model import TINY_DIMS, TINY_SEED, unpack_mel
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.engines.base import EncodedWindow, Encoder
from whisper_npu_cli.engines.npu.encoder import NpuEncoder
from whisper_npu_cli.engines.npu.plan import plan_encoder
from whisper_npu_cli.engines.npu.standin.open import open_standin
from whisper_npu_cli.engines.openvino_encoder.encoder import OpenVinoEncoder
from whisper_npu_cli.engines.reference import ReferenceEncoder
from whisper_npu_cli.errors import DeviceError

MODEL = GOLDEN / "model.npz"
CHECKPOINT = random_checkpoint(TINY_DIMS, TINY_SEED)
FIELDS = ("states", "cross_keys", "cross_values")

# Largest and root-mean-square error, relative to the standard deviation of the expected values.
# f32 sums in another order: 1e-5 was measured. bf16 keeps 8 bits (rounding 0.002 of a value), and
# whisper-base was measured at 0.032 and 0.005 over its six layers. int8 keeps 7 bits of a row's
# largest magnitude, and 6 of a weight's without VNNI: whisper-base was measured at 0.14 and 0.028.
TOLERANCES = {"f32": (1e-4, 1e-5), "bf16": (0.1, 0.01), "int8": (0.2, 0.04)}


def open_vino(precision: str) -> Encoder:
    try:
        return OpenVinoEncoder(CHECKPOINT, precision=precision, n_threads=2)
    except DeviceError as error:
        if precision == "f32":
            raise
        pytest.skip(str(error))


def npu_on_the_standin() -> Encoder:
    with TemporaryDirectory() as folder:
        specs = plan_encoder(TINY_DIMS).specs
        return NpuEncoder(CHECKPOINT, *open_standin(Path(folder), specs))


ENGINES: dict[str, tuple[Callable[[], Encoder], str]] = {
    "reference": (lambda: ReferenceEncoder(CHECKPOINT), "f32"),
    "cpu-f32": (lambda: open_vino("f32"), "f32"),
    "cpu-bf16": (lambda: open_vino("bf16"), "bf16"),
    "cpu-int8": (lambda: open_vino("int8"), "int8"),
    "npu": (npu_on_the_standin, "bf16"),
}


@pytest.fixture(scope="module")
def mels() -> NDArray[np.float32]:
    with np.load(MODEL) as file:
        return unpack_mel(file["mels"])


@pytest.fixture(scope="module")
def expected(mels: NDArray[np.float32]) -> list[EncodedWindow]:
    with closing(ReferenceEncoder(CHECKPOINT)) as encoder:
        return [encoder.encode(mel) for mel in mels]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[tuple[Encoder, str]]:
    make, precision = ENGINES[request.param]
    encoder = make()
    yield encoder, precision
    encoder.close()


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "reference"], indirect=True)
def test_engine_agrees_with_the_reference(
    engine: tuple[Encoder, str], mels: NDArray[np.float32], expected: list[EncodedWindow]
) -> None:
    encoder, precision = engine
    largest, root_mean_square = TOLERANCES[precision]
    # All windows first: a window must stay valid while the next is encoded.
    windows = [encoder.encode(mel) for mel in mels]
    for window, reference in zip(windows, expected, strict=True):
        wide = window.widen()
        for field in FIELDS:
            actual, correct = getattr(wide, field), getattr(reference, field)
            assert actual.shape == correct.shape
            assert actual.dtype == np.float32
            error = (actual - correct) / correct.std()
            assert np.abs(error).max() <= largest, field
            assert np.sqrt(np.square(error).mean()) <= root_mean_square, field


def test_engine_takes_a_window_of_a_longer_mel(
    engine: tuple[Encoder, str], mels: NDArray[np.float32]
) -> None:
    """The frames of a view are far apart in memory."""
    encoder, _ = engine
    longer = np.concatenate(list(mels), axis=1)
    window = encoder.encode(longer[:, : mels.shape[2]])
    np.testing.assert_array_equal(window.states, encoder.encode(mels[0]).states)


def test_engine_refuses_another_shape(
    engine: tuple[Encoder, str], mels: NDArray[np.float32]
) -> None:
    encoder, _ = engine
    with pytest.raises(ValueError, match=r"expected \(80, 3000\)"):
        encoder.encode(mels[0, :, :-1])


def test_engine_names_its_precision(engine: tuple[Encoder, str]) -> None:
    encoder, precision = engine
    assert precision in encoder.name  # "int8+bf16" where attention is not of int8
    assert encoder.dims == TINY_DIMS


def test_what_computes_in_this_process_leaves_it_no_cpu(engine: tuple[Encoder, str]) -> None:
    assert not engine[0].leaves_cpu


def test_closing_twice_is_allowed(engine: tuple[Encoder, str]) -> None:
    encoder, _ = engine
    encoder.close()
    encoder.close()
