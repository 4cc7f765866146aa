"""Windows and whole recordings, decoded as openai-whisper decodes them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.decoding_model import LONG_CASES, WINDOW_CASES, lively_checkpoint, noise, windows
from tests.support.places import GOLDEN
from tests.support.sequential_run import transcribe_samples
from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.decoding.prompt import PromptBuilder
from whisper_npu_cli.decoding.retry import PromptedWindow, WindowDecoder
from whisper_npu_cli.decoding.sampling import SamplingPolicy
from whisper_npu_cli.dims import FRAMES_PER_SECOND, N_FRAMES
from whisper_npu_cli.engines.base import CrossKV, EncodedWindow
from whisper_npu_cli.engines.loading import Engines
from whisper_npu_cli.engines.reference import ReferenceDecoder, ReferenceEncoder
from whisper_npu_cli.options import DecodingOptions, TranscribeOptions
from whisper_npu_cli.transcript import Segment

# Both sides compute in fp32 and sum up to 32 log-probabilities of size 10: 1e-5 apart at most.
LOGPROB_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads((GOLDEN / "decoding.json").read_text())


class CachingEncoder(ReferenceEncoder):
    """The reference encoder, which remembers windows, because many come again in the next case."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._known: dict[bytes, EncodedWindow] = {}

    def encode(self, mel: NDArray[np.float32]) -> EncodedWindow:
        key = mel.tobytes()
        if key not in self._known:
            self._known[key] = super().encode(mel)
        return self._known[key]


@pytest.fixture(scope="module")
def engines() -> Engines:
    checkpoint = lively_checkpoint()
    return Engines(
        CachingEncoder(checkpoint), ReferenceDecoder(checkpoint), "reference", "", n_threads=1
    )


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return lively_checkpoint().tokenizer()


@pytest.fixture(scope="module")
def encoded(engines: Engines) -> list[CrossKV]:
    return [engines.decoder.cross_kv(engines.encoder.encode(mel)) for mel in windows()]


@pytest.mark.parametrize("name", WINDOW_CASES)
def test_windows_together_are_openai_whispers_alone(
    name: str,
    golden: Any,
    engines: Engines,
    tokenizer: Tokenizer,
    encoded: list[CrossKV],
) -> None:
    options = DecodingOptions(temperature_increment_on_fallback=None, **WINDOW_CASES[name])
    decoder = engines.decoder
    builder = PromptBuilder(tokenizer, options, "transcribe", decoder.dims.n_text_ctx)
    prompt = builder.build("en", first=True)
    prompted = [PromptedWindow(window, "en", prompt) for window in encoded]
    results = WindowDecoder(decoder, tokenizer, options).decode(prompted)
    for result, expected in zip(results, golden["windows"][name], strict=True):
        assert list(result.tokens) == expected["tokens"]
        assert result.avg_logprob == pytest.approx(expected["avg_logprob"], abs=LOGPROB_TOLERANCE)
        if (
            tokenizer.no_speech not in result.tokens
        ):  # its name differs, and names count in the ratio
            assert result.compression_ratio == expected["compression_ratio"]
        # One softmax of fp32 logits of size 10.
        assert result.no_speech_prob == pytest.approx(expected["no_speech_prob"], rel=1e-4)


@pytest.mark.parametrize("name", LONG_CASES)
def test_recording_is_openai_whispers(
    name: str,
    golden: Any,
    engines: Engines,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def likeliest(_: SamplingPolicy, logprobs: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.array(logprobs.argmax(axis=1))

    # Random draws cannot be equal in two programs, so both take the likeliest token instead.
    monkeypatch.setattr(SamplingPolicy, "choose", likeliest)
    # Where all temperatures fail, openai-whisper returns what the last one gave.
    monkeypatch.setattr(WindowDecoder, "_choose_best", lambda _, attempts: attempts[-1])
    case = dict(LONG_CASES[name])
    clips = case.pop("clip_timestamps", ())
    options = TranscribeOptions(clip_timestamps=clips, decoding=DecodingOptions(**case))
    segments = transcribe_samples(engines, tokenizer, noise(50), options)
    assert [list(s.tokens) for s in segments] == [s["tokens"] for s in golden["recordings"][name]]
    for segment, expected in zip(segments, golden["recordings"][name], strict=True):
        assert_same(segment, expected, clips)


def assert_same(segment: Segment, expected: dict[str, Any], clips: tuple[float, ...]) -> None:
    """Compare with a segment of openai-whisper, which may end beyond the content of its window."""
    assert segment.seek == expected["seek"]
    ends = [*clips[1::2], 50.0]
    limit = min(end for end in ends if segment.seek < end * FRAMES_PER_SECOND)
    limit = min(limit, (segment.seek + N_FRAMES) / FRAMES_PER_SECOND)
    for field in ("start", "end"):
        assert getattr(segment, field) == pytest.approx(min(expected[field], limit), abs=1e-6)
    assert segment.temperature == expected["temperature"]
    assert segment.avg_logprob == pytest.approx(expected["avg_logprob"], abs=LOGPROB_TOLERANCE)
