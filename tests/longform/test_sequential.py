"""Recordings of spoken digits, as openai-whisper transcribes them with the demo checkpoint."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.decoding_model import DEMO_RECORDINGS
from tests.support.digits import compose_recording
from tests.support.places import GOLDEN
from tests.support.sequential_run import transcribe_samples
from tests.support.words_model import WORD_CASES
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.huggingface import WEIGHTS_FILE
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.decoding.sampling import SamplingPolicy
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.engines.loading import Engines
from whisper_npu_cli.engines.openvino_encoder.encoder import OpenVinoEncoder
from whisper_npu_cli.engines.reference import ReferenceDecoder
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.options import DecodingOptions, TranscribeOptions, WordOptions
from whisper_npu_cli.timings import Stopwatch


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_checkpoint("demo", offline=True)


@pytest.fixture(scope="module")
def engines(checkpoint: Checkpoint) -> Engines:
    """Engines in fp32, as in the golden; the reference encoder would take minutes."""
    encoder = OpenVinoEncoder(checkpoint, precision="f32")
    return Engines(encoder, ReferenceDecoder(checkpoint), "reference", "", n_threads=1)


@pytest.fixture(scope="module")
def golden(checkpoint: Checkpoint) -> Any:
    return read_golden("demo_recordings.json", checkpoint)


def read_golden(name: str, checkpoint: Checkpoint) -> Any:
    fields = json.loads((GOLDEN / name).read_text())
    assert checkpoint.path is not None
    weights = (checkpoint.path / WEIGHTS_FILE).read_bytes()
    assert fields["sha256"] == hashlib.sha256(weights).hexdigest(), "another demo: make goldens"
    return fields["recordings"]


@pytest.mark.parametrize("name", DEMO_RECORDINGS)
def test_recording_is_openai_whispers(
    name: str,
    golden: Any,
    engines: Engines,
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def likeliest(_: SamplingPolicy, logprobs: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.array(logprobs.argmax(axis=1))

    # Random draws cannot be equal in two programs, so both take the likeliest token instead.
    monkeypatch.setattr(SamplingPolicy, "choose", likeliest)
    duration_s, longest_gap_s = DEMO_RECORDINGS[name]
    samples = compose_recording(duration_s, longest_gap_s)
    options = TranscribeOptions(language="en")
    segments = transcribe_samples(engines, checkpoint.tokenizer(), samples, options)
    assert [list(s.tokens) for s in segments] == [s["tokens"] for s in golden[name]]
    for segment, expected in zip(segments, golden[name], strict=True):
        # Times are sums of hundredths; the last segment of openai-whisper may pass the end.
        assert segment.start == pytest.approx(min(expected["start"], duration_s), abs=1e-6)
        assert segment.end == pytest.approx(min(expected["end"], duration_s), abs=1e-6)
        assert segment.temperature == expected["temperature"]
    assert all(a.end <= b.start for a, b in pairwise(segments))


def test_what_the_model_lacks_is_refused_before_any_audio(
    engines: Engines, checkpoint: Checkpoint
) -> None:
    with pytest.raises(UsageError, match="no language 'de'"):
        Stages(engines, checkpoint.tokenizer(), TranscribeOptions(language="de"), Stopwatch())
    with pytest.raises(UsageError, match="detected in every window"):
        TranscribeOptions(language="en", multilingual=True)


@pytest.mark.parametrize("multilingual", [False, True])
def test_language_is_detected_once_or_in_each_window(
    engines: Engines, checkpoint: Checkpoint, multilingual: bool
) -> None:
    decoding = DecodingOptions(beam_size=None, temperature_increment_on_fallback=None)
    options = TranscribeOptions(multilingual=multilingual, decoding=decoding)
    stages = Stages(engines, checkpoint.tokenizer(), options, Stopwatch())
    silence = np.zeros((engines.encoder.dims.n_mels, N_FRAMES), np.float32)
    stages.detect_language([(silence, 0)])
    windows = [stages.encode(silence, 0)] * 2
    assert len(stages.windows) == 1  # the first is encoded once
    assert [window.language for window in stages.decode(windows)] == ["en", "en"]
    assert stages.language == "en"
    assert stages.language_probs == {"en": 1.0}  # the demo knows no other


@pytest.mark.parametrize("name", WORD_CASES)
def test_words_are_openai_whispers(name: str, engines: Engines, checkpoint: Checkpoint) -> None:
    golden = read_golden("demo_words.json", checkpoint)[name]
    case, shape = dict(WORD_CASES[name][0]), WORD_CASES[name][1]
    options = TranscribeOptions(
        language="en",
        clip_timestamps=case.pop("clip_timestamps", ()),
        words=WordOptions(
            hallucination_silence_threshold=case.pop("hallucination_silence_threshold", None)
        ),
        decoding=DecodingOptions(**case),
    )
    samples = compose_recording(*shape)
    segments = transcribe_samples(engines, checkpoint.tokenizer(), samples, options)
    assert [(s.seek, list(s.tokens)) for s in segments] == [
        (s["seek"], s["tokens"]) for s in golden
    ]
    found = [word for s in segments for word in s.words or ()]
    expected = [word for s in golden for word in s["words"]]
    assert [word.word for word in found] == [word["word"] for word in expected]
    for word, other in zip(found, expected, strict=True):
        # One softmax of fp32 logits of size 20.
        assert word.probability == pytest.approx(other["probability"], rel=1e-3, abs=1e-6)
    # The tolerance is one position of the encoder: paths differ where fp32 sums do. The other
    # differences are times that run backwards in the original.
    near = [
        max(abs(word.start - other["start"]), abs(word.end - other["end"])) < 0.0201
        for word, other in zip(found, expected, strict=True)
    ]
    assert np.mean(near) >= 0.95
