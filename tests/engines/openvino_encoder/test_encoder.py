from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_model import TINY_DIMS, TINY_SEED
from whisper_npu_cli.bench.limits import supports_bf16
from whisper_npu_cli.checkpoints import huggingface
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.checkpoints.save import save_checkpoint
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.engines.openvino_encoder.encoder import OpenVinoEncoder, choose_int8
from whisper_npu_cli.engines.openvino_encoder.graph import Int8, build_encoder
from whisper_npu_cli.engines.reference import ReferenceEncoder
from whisper_npu_cli.environment import find_core, make_command, read_cpu_features
from whisper_npu_cli.errors import DeviceError

CHECKPOINT = random_checkpoint(TINY_DIMS, TINY_SEED)
needs_vnni = pytest.mark.skipif(
    read_cpu_features().isdisjoint({"avx512_vnni", "avx_vnni"}),
    reason="without VNNI sums of two products overflow 16 bits, and attention is not of int8",
)
HAS_BF16 = supports_bf16()


@pytest.mark.skipif(HAS_BF16, reason="this CPU computes in bf16")
def test_bf16_is_never_emulated() -> None:
    with pytest.raises(DeviceError, match="does not compute in bf16"):
        OpenVinoEncoder(CHECKPOINT, precision="bf16")


@pytest.mark.parametrize(
    ("features", "has_bf16", "auto", "asked"),
    [
        ("avx2", False, None, Int8(weight_steps=63)),
        ("avx2 avx512_vnni", False, Int8(attention=True), Int8(attention=True)),
        ("avx2 avx_vnni", False, Int8(attention=True), Int8(attention=True)),
        ("avx2 avx512_vnni avx512_bf16", True, None, Int8()),
        ("asimd", False, None, Int8()),
    ],
)
def test_int8_is_chosen_where_it_is_fast(
    features: str, has_bf16: bool, auto: Int8 | None, asked: Int8
) -> None:
    words = frozenset(features.split())
    assert choose_int8("CPU", "auto", words, has_bf16=has_bf16) == auto
    assert choose_int8("CPU", "int8", words, has_bf16=has_bf16) == asked
    assert choose_int8("CPU", "f32", words, has_bf16=has_bf16) is None
    assert choose_int8("GPU", "auto", words, has_bf16=has_bf16) is None


def test_auto_takes_what_is_fast_here() -> None:
    int8 = choose_int8("CPU", "auto", read_cpu_features(), has_bf16=HAS_BF16)
    fast = "bf16" if HAS_BF16 else "int8" if int8 else "f32"
    with closing(OpenVinoEncoder(CHECKPOINT)) as encoder:
        assert encoder.name == f"openvino {fast}"


def test_absent_device_is_an_error_that_names_what_is_there() -> None:
    with pytest.raises(DeviceError, match="no device 'TPU'") as caught:
        OpenVinoEncoder(CHECKPOINT, device="TPU")
    assert "CPU, " in str(caught.value.hint)
    assert "AUTO" in str(caught.value.hint)


def test_auto_device_computes_the_same_and_says_where() -> None:
    """OpenVINO's AUTO takes the CPU where there is nothing else, with the same graph."""
    mel = np.random.default_rng(0).uniform(-1, 1, (80, 3000)).astype(np.float32)
    with closing(OpenVinoEncoder(CHECKPOINT, precision="f32", device="AUTO")) as encoder:
        states = encoder.encode(mel).states
        assert encoder.name.startswith("openvino AUTO: ")
        assert encoder.leaves_cpu == ("CPU" not in encoder.name)
    expected = ReferenceEncoder(CHECKPOINT).encode(mel).states
    np.testing.assert_allclose(states, expected, rtol=0, atol=1e-4)  # as below


def test_failures_of_a_device_are_one_line() -> None:
    """OpenVINO's messages begin with the places in its source."""
    with pytest.raises(DeviceError) as caught:
        OpenVinoEncoder(CHECKPOINT, n_threads=-1)
    assert str(caught.value).startswith("OpenVINO device 'CPU' cannot take the encoder: ")
    assert "\n" not in str(caught.value)
    assert "Exception from" not in str(caught.value)


def list_products(int8: Int8, kind: str) -> list[str]:
    """Precisions in which OpenVINO computes the products of a kind, by its executed graph."""
    f32 = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = find_core().compile_model(build_encoder(CHECKPOINT, int8), "CPU", f32)
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    products = [info for info in infos if info["layerType"].astype(str) == kind]
    return [product["runtimePrecision"].astype(str) for product in products]


def test_products_are_of_int8_operands() -> None:
    """OpenVINO recognises them by their pattern, and would compute any other in fp32."""
    n_layer = TINY_DIMS.n_audio_layer
    weights = ["i8"] * (n_layer * 6 + TINY_DIMS.n_text_layer * 2)
    assert list_products(Int8(), "FullyConnected") == weights
    assert list_products(Int8(), "MatMul") == []  # OpenVINO merges those in f32 with the softmax


@needs_vnni
def test_products_of_attention_are_of_int8_operands() -> None:
    n_layer = TINY_DIMS.n_audio_layer
    weights = ["i8"] * (n_layer * 6 + TINY_DIMS.n_text_layer * 2)
    assert list_products(Int8(attention=True), "FullyConnected") == weights
    attention = list_products(Int8(attention=True), "MatMul")
    assert len(attention) >= n_layer * 2
    assert set(attention) <= {"i8", "u8"}


@needs_vnni
def test_attention_of_int8_operands_is_near() -> None:
    mel = np.random.default_rng(0).uniform(-1, 1, (TINY_DIMS.n_mels, N_FRAMES)).astype(np.float32)
    f32 = {"INFERENCE_PRECISION_HINT": "f32"}
    graph = build_encoder(CHECKPOINT, Int8(attention=True))
    states = find_core().compile_model(graph, "CPU", f32)([mel])[0]
    expected = ReferenceEncoder(CHECKPOINT).encode(mel).states
    # whisper-base on speech: 0.029; the aim is 0.06. Probabilities in int8 were off by 0.25.
    assert np.abs(states - expected).mean() / expected.std() < 0.06


INTERRUPT = """
import signal
from threading import Thread
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.engines.openvino_encoder.encoder import OpenVinoEncoder
demo = open_checkpoint("demo", offline=True)
encoders = [OpenVinoEncoder(demo) for _ in range(3)]
encoders.pop(0).close()
encoders.pop(0).close()
thread = Thread(target=encoders.clear)
thread.start()
thread.join()
signal.signal(signal.SIGINT, lambda *_: print("interrupted"))
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_finds_its_stack_when_encoders_are_gone() -> None:
    command = make_command(INTERRUPT)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n")


def test_encoding_after_close_is_an_error() -> None:
    encoder = OpenVinoEncoder(CHECKPOINT)
    encoder.close()
    with pytest.raises(RuntimeError, match="close"):
        encoder.encode(np.zeros((80, 3000), np.float32))


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_stored_checkpoints_of_every_dtype_load(tmp_path: Path, dtype: str) -> None:
    """An fp32 file is shared with OpenVINO as it lies in memory; the others are converted."""
    save_checkpoint(CHECKPOINT, tmp_path, dtype)
    stored = huggingface.load(tmp_path)
    mel = np.zeros((TINY_DIMS.n_mels, N_FRAMES), np.float32)
    with closing(OpenVinoEncoder(stored, precision="f32")) as encoder:
        states = encoder.encode(mel).states
    expected = ReferenceEncoder(stored).encode(mel).states
    # fp32 sums in another order: 1e-5 was measured, of values with a standard deviation of 1
    np.testing.assert_allclose(states, expected, rtol=0, atol=1e-4)
