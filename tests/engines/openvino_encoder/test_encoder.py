from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import openvino
import pytest

from tests.support.tiny_model import TINY_DIMS, TINY_SEED
from whisper_npu_cli.checkpoints import huggingface
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.checkpoints.save import save_checkpoint
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.engines.openvino_encoder.encoder import OpenVinoEncoder
from whisper_npu_cli.engines.openvino_encoder.graph import INT8_STEPS, build_encoder
from whisper_npu_cli.engines.reference import ReferenceEncoder
from whisper_npu_cli.errors import DeviceError

CHECKPOINT = random_checkpoint(TINY_DIMS, TINY_SEED)
HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.skipif(HAS_BF16, reason="this CPU computes in bf16")
def test_bf16_is_never_emulated() -> None:
    with pytest.raises(DeviceError, match="does not compute in bf16"):
        OpenVinoEncoder(CHECKPOINT, precision="bf16")


def test_auto_takes_bf16_where_the_cpu_has_it() -> None:
    with closing(OpenVinoEncoder(CHECKPOINT)) as encoder:
        assert encoder.name == ("openvino bf16" if HAS_BF16 else "openvino f32")


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


def test_products_with_weights_are_of_int8_operands() -> None:
    """OpenVINO recognises them by their pattern, and would compute any other in fp32."""
    compiled = openvino.Core().compile_model(build_encoder(CHECKPOINT, INT8_STEPS), "CPU")
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    products = [info for info in infos if info["layerType"].astype(str) == "FullyConnected"]
    assert len(products) == TINY_DIMS.n_audio_layer * 6 + TINY_DIMS.n_text_layer * 2
    assert {info["runtimePrecision"].astype(str) for info in products} == {"i8"}


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
