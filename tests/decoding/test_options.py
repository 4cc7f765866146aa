from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from tests.decoding.test_retry import TOKENIZER
from whisper_npu_cli.decoding.options import DecodingOptions, token_rules
from whisper_npu_cli.decoding.prompt import PromptBuilder
from whisper_npu_cli.decoding.rules import SuppressTokens, TimestampRules
from whisper_npu_cli.errors import UsageError

SOT = TOKENIZER.sot_sequence("en")
N_TEXT_CTX = 24  # room for 11 tokens of context
PREV = TOKENIZER.sot_prev


def encode(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(text))


def builder(**options: Any) -> PromptBuilder:
    return PromptBuilder(TOKENIZER, DecodingOptions(**options), "transcribe", N_TEXT_CTX)


def test_temperatures_rise_to_one() -> None:
    assert DecodingOptions().temperatures == pytest.approx((0, 0.2, 0.4, 0.6, 0.8, 1.0))
    assert DecodingOptions(temperature=0.5).temperatures == pytest.approx((0.5, 0.7, 0.9))
    assert DecodingOptions(temperature=1.5).temperatures == (1.5,)
    assert DecodingOptions(temperature_increment_on_fallback=None).temperatures == (0.0,)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -0.1},
        {"temperature": nan},
        {"temperature_increment_on_fallback": nan},
        {"max_initial_timestamp": -1.0},
        {"patience": inf},
        {"suppress_tokens": "999999"},
        {"suppress_tokens": "-2"},
        {"seed": -1},
        {"temperature_increment_on_fallback": 0.0},
        {"beam_size": 0},
        {"beam_size": 101},
        {"best_of": 0},
        {"patience": 2.0, "beam_size": None},
        {"patience": 0.05},
        {"patience": -1.0},
        {"length_penalty": 1.5},
        {"repetition_penalty": 0.0},
        {"no_repeat_ngram_size": -1},
        {"suppress_tokens": "one"},
    ],
)
def test_contradictions_are_usage_errors(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        token_rules(TOKENIZER, DecodingOptions(**options))


def test_suppressed_tokens() -> None:
    def suppressed(text: str) -> set[int]:
        rules = token_rules(TOKENIZER, DecodingOptions(suppress_tokens=text))
        return {t for rule in rules if isinstance(rule, SuppressTokens) for t in rule.tokens}

    control = {TOKENIZER.sot, TOKENIZER.sot_prev, TOKENIZER.no_speech, TOKENIZER.transcribe}
    assert suppressed("-1") > control | set(TOKENIZER.non_speech_tokens)
    assert suppressed("5,7") > control | {5, 7}
    assert not suppressed("5,7") & set(TOKENIZER.non_speech_tokens) - {5, 7}
    assert suppressed("") == set()  # as in openai-whisper: not even control tokens


@pytest.mark.parametrize(("limit_s", "index"), [(1.0, 50), (0.1, 5), (0.0, None), (None, None)])
def test_first_timestamp(limit_s: float | None, index: int | None) -> None:
    *_, rule = token_rules(TOKENIZER, DecodingOptions(max_initial_timestamp=limit_s))
    assert isinstance(rule, TimestampRules)
    assert rule.max_initial_index == index


def test_without_timestamps_there_are_no_timestamp_rules() -> None:
    rules = token_rules(TOKENIZER, DecodingOptions(without_timestamps=True))
    assert not any(isinstance(rule, TimestampRules) for rule in rules)
    assert builder(without_timestamps=True).build("en") == (*SOT, TOKENIZER.no_timestamps)


def test_a_prompt_is_the_end_of_the_previous_text() -> None:
    assert builder().build("en") == SOT
    assert builder().build("en", [1, 2]) == (PREV, 1, 2, *SOT)
    assert builder().build("en", range(30)) == (PREV, *range(19, 30), *SOT)


def test_prefix_is_of_the_first_window_and_replaces_hotwords() -> None:
    prompts = builder(prefix="so", hotwords="xy")
    assert prompts.build("en", first=True) == (*SOT, *encode(" so"))
    assert prompts.build("en") == (PREV, *encode(" xy"), *SOT)


def test_a_prefix_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(UsageError, match="the prefix has 8 tokens, there is room for"):
        builder(prefix="x" * 7)


def test_hotwords_share_the_room_of_the_previous_text() -> None:
    assert builder(hotwords=" xy ").build("en", range(30)) == (
        *(PREV, *encode(" xy"), *range(22, 30)),
        *SOT,
    )
    long = builder(hotwords="x" * 30).build("en", [1, 2])
    assert long == (PREV, *encode(" " + "x" * 10), *SOT)


def test_history_keeps_what_was_said() -> None:
    history = builder(initial_prompt=" hi ").history()
    assert history.tokens == list(encode(" hi"))
    history.add([1, 2], 0.0)
    history.add([3], 0.4)
    assert history.tokens == [*encode(" hi"), 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "temperature"), [({}, 0.6), ({"condition_on_previous_text": False}, 0.0)]
)
def test_history_is_reset(options: dict[str, Any], temperature: float) -> None:
    history = builder(initial_prompt="hi", **options).history()
    history.add([1, 2], temperature)
    assert history.tokens == []
    carried = builder(initial_prompt="hi", carry_initial_prompt=True, **options).history()
    carried.add([1, 2], temperature)
    assert carried.tokens == list(encode(" hi"))


def test_a_carried_prompt_stays_whole() -> None:
    history = builder(initial_prompt="hi", carry_initial_prompt=True).history()
    history.add(range(30), 0.0)
    assert history.tokens == [*encode(" hi"), *range(22, 30)]
