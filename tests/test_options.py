"""Options are checked when they are made, travel as JSON, and cost nothing to import."""

from __future__ import annotations

import json
import subprocess
import sys
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.fields import Options
from whisper_npu_cli.options import (
    DecodingOptions,
    EngineOptions,
    SubtitleLayout,
    TranscribeOptions,
    VadOptions,
    WordOptions,
)

numbers = st.floats(0, 10, allow_nan=False)
transcribe_options = st.builds(
    TranscribeOptions,
    language=st.sampled_from([None, "en", "de"]),
    task=st.sampled_from(["transcribe", "translate"]),
    clip_timestamps=st.lists(numbers, max_size=4).map(lambda points: tuple(sorted(points))),
    long_form=st.sampled_from(["auto", "sequential"]),
    batch_size=st.integers(1, 64),
    vad=st.builds(VadOptions, speech_pad_ms=st.integers(0, 1000), neg_threshold=st.none()),
    words=st.none() | st.builds(WordOptions, hallucination_silence_threshold=st.none() | numbers),
    decoding=st.builds(
        DecodingOptions,
        beam_size=st.none() | st.integers(1, 100),
        temperature=st.integers(0, 1) | st.floats(0, 1),
        suppress_blank=st.booleans(),
        initial_prompt=st.none() | st.text(),
    ),
)
engine_options = st.builds(
    EngineOptions,
    device=st.sampled_from(["auto", "npu"]),
    n_threads=st.sampled_from([None, 1]),
    xclbins=st.none() | st.text().map(Path),
) | st.builds(EngineOptions, device=st.sampled_from(["sim", "openvino:GPU.1", "reference"]))


@given(transcribe_options | engine_options)
def test_options_come_back_from_json(options: Options) -> None:
    assert type(options).from_dict(json.loads(json.dumps(options.to_dict()))) == options


def test_what_is_left_out_has_its_default() -> None:
    assert TranscribeOptions.from_dict({"decoding": {"seed": 3}}) == TranscribeOptions(
        decoding=DecodingOptions(seed=3)
    )


@pytest.mark.parametrize(
    ("group", "content", "message"),
    [
        (TranscribeOptions, {"langauge": "en"}, "TranscribeOptions has no option 'langauge'"),
        (TranscribeOptions, {"vad": {"pad": 1}}, "VadOptions has no option 'pad'"),
        (TranscribeOptions, {"vad": 1}, "the vad must be a VadOptions, not 1"),
        (EngineOptions, {"precision": "f16"}, "unknown precision 'f16'"),
    ],
)
def test_content_that_is_none_of_theirs_is_refused(
    group: type[Options], content: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        group.from_dict(content)


@pytest.mark.parametrize(
    ("group", "values"),
    [
        (DecodingOptions, {"temperature": -0.1}),
        (DecodingOptions, {"temperature": nan}),
        (DecodingOptions, {"temperature": "0"}),
        (DecodingOptions, {"temperature_increment_on_fallback": nan}),
        (DecodingOptions, {"temperature_increment_on_fallback": 0.0}),
        (DecodingOptions, {"max_initial_timestamp": -1.0}),
        (DecodingOptions, {"seed": -1}),
        (DecodingOptions, {"seed": 0.5}),
        (DecodingOptions, {"seed": None}),
        (DecodingOptions, {"beam_size": 0}),
        (DecodingOptions, {"beam_size": 101}),
        (DecodingOptions, {"beam_size": True}),
        (DecodingOptions, {"best_of": 0}),
        (DecodingOptions, {"suppress_blank": 1}),
        (DecodingOptions, {"patience": inf}),
        (DecodingOptions, {"patience": 2.0, "beam_size": None}),
        (DecodingOptions, {"patience": 0.05}),
        (DecodingOptions, {"patience": -1.0}),
        (DecodingOptions, {"length_penalty": 1.5}),
        (DecodingOptions, {"repetition_penalty": 0.0}),
        (DecodingOptions, {"no_repeat_ngram_size": -1}),
        (TranscribeOptions, {"long_form": "bathced"}),
        (TranscribeOptions, {"task": "summarise"}),
        (TranscribeOptions, {"clip_timestamps": (3.0, 1.0)}),
        (TranscribeOptions, {"clip_timestamps": [0.0]}),
        (TranscribeOptions, {"language": "en", "multilingual": True}),
        (VadOptions, {"threshold": 1.0}),
        (VadOptions, {"neg_threshold": 0.6}),
        (VadOptions, {"max_speech_duration_s": 31.0}),
        (SubtitleLayout, {"max_line_count": 2}),
        (SubtitleLayout, {"max_line_width": 40, "max_words_per_line": 3}),
        (SubtitleLayout, {"subtitles": True, "max_words_per_line": 3}),
        (EngineOptions, {"device": "tpu"}),
        (EngineOptions, {"precision": "nonsense"}),
        (EngineOptions, {"cross_kv": "bf16"}),
        (EngineOptions, {"n_threads": 0}),
        (EngineOptions, {"exact": True}),
        (EngineOptions, {"device": "npu", "precision": "f32"}),
        (EngineOptions, {"device": "reference", "n_threads": 1}),
        (EngineOptions, {"device": "cpu", "xclbins": Path("built")}),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    group: type[Options], values: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        group(**values)


def test_messages_name_the_option_its_bounds_and_the_value() -> None:
    for values, message in (
        ({"beam_size": 101}, "the beam size must be from 1 to 100, not 101"),
        ({"repetition_penalty": 0}, "the repetition penalty must be above 0, not 0"),
    ):
        with pytest.raises(UsageError, match=message):
            DecodingOptions(**values)
    with pytest.raises(UsageError, match="the number of threads must be at least 1, not 0"):
        EngineOptions(n_threads=0)


@pytest.mark.parametrize("clips", [(-1.0, 2.0), (5.0, 3.0), (0.0, 9.0, 8.0), (0.0, inf), (nan,)])
def test_clips_that_run_backwards_are_refused(clips: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="clip timestamps"):
        TranscribeOptions(clip_timestamps=clips)


def test_long_audio_is_batched_unless_silence_is_to_be_judged() -> None:
    plain = TranscribeOptions()
    assert plain.long_form_of(60.0) == "sequential"
    assert plain.long_form_of(60.1) == "batched"
    judged = TranscribeOptions(words=WordOptions(hallucination_silence_threshold=2.0))
    assert judged.long_form_of(600.0) == "sequential"
    with pytest.raises(UsageError, match="sequential"):
        TranscribeOptions(words=judged.words, long_form="batched")


def test_the_names_of_channels_are_two() -> None:
    assert TranscribeOptions(speakers="channels").list_channels() == ("left", "right")
    named = TranscribeOptions(speakers="channels", channel_names="agent, customer")
    assert named.list_channels() == ("agent", "customer")
    assert TranscribeOptions.from_dict(named.to_dict()) == named
    for names in ("agent", "a,b,c", ",", "a,a", "a\nc,b"):
        with pytest.raises(UsageError, match="two that differ"):
            TranscribeOptions(speakers="channels", channel_names=names)
    with pytest.raises(UsageError, match="needs --speakers"):
        TranscribeOptions(channel_names="agent,customer")


def test_layouts_that_contradict_are_refused() -> None:
    with pytest.raises(UsageError, match="needs --max-line-width"):
        SubtitleLayout(max_line_count=2)
    with pytest.raises(UsageError, match="exclude each other"):
        SubtitleLayout(max_line_width=20, max_words_per_line=2)


def test_temperatures_rise_to_one() -> None:
    assert DecodingOptions().temperatures == pytest.approx((0, 0.2, 0.4, 0.6, 0.8, 1.0))
    assert DecodingOptions(temperature=0.5).temperatures == pytest.approx((0.5, 0.7, 0.9))
    assert DecodingOptions(temperature=1).temperatures == (1,)
    assert DecodingOptions(temperature_increment_on_fallback=None).temperatures == (0.0,)


def test_auto_takes_what_has_an_effect_on_any_of_its_devices() -> None:
    options = EngineOptions(precision="f32", xclbins=Path("built"), n_threads=1)
    assert options.for_device("cpu") == EngineOptions("cpu", precision="f32", n_threads=1)
    npu = EngineOptions("npu", xclbins=Path("built"), n_threads=1)
    assert options.for_device("npu") == npu


def test_importing_options_imports_nothing_heavy() -> None:
    program = (
        "import sys, whisper_npu_cli.options; "
        "print([m for m in ('numpy', 'numba', 'openvino', 'tokenizers', 'typer') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
