from __future__ import annotations

import numpy as np
import openvino
import pytest
from tiny_model import TINY_DIMS, TINY_SEED

from whisper_npu_cli.encoder.cpu import OpenVinoEncoder
from whisper_npu_cli.errors import DeviceError, UsageError
from whisper_npu_cli.random_checkpoint import random_checkpoint

CHECKPOINT = random_checkpoint(TINY_DIMS, TINY_SEED)
HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.skipif(HAS_BF16, reason="this CPU computes in bf16")
def test_bf16_is_never_emulated() -> None:
    with pytest.raises(DeviceError, match="does not compute in bf16"):
        OpenVinoEncoder(CHECKPOINT, precision="bf16")


def test_auto_takes_bf16_where_the_cpu_has_it() -> None:
    with OpenVinoEncoder(CHECKPOINT) as encoder:
        assert encoder.name == ("openvino bf16" if HAS_BF16 else "openvino f32")


def test_absent_device_is_an_error_that_names_what_is_there() -> None:
    with pytest.raises(DeviceError, match="no device 'TPU'") as caught:
        OpenVinoEncoder(CHECKPOINT, device="TPU")
    assert "CPU" in str(caught.value.hint)


def test_unknown_precision_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="int4"):
        OpenVinoEncoder(CHECKPOINT, precision="int4")


def test_encoding_after_close_is_an_error() -> None:
    encoder = OpenVinoEncoder(CHECKPOINT)
    encoder.close()
    with pytest.raises(RuntimeError, match="close"):
        encoder.encode(np.zeros((80, 3000), np.float32))
