from __future__ import annotations

from typing import Any

import pytest

from tests.support.vocabularies import BYTES as TOKENIZER
from whisper_npu_cli.decoding.prompt import PromptBuilder
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.options import DecodingOptions

SOT = TOKENIZER.sot_sequence("en")
N_TEXT_CTX = 24  # room for 11 tokens of context
PREV = TOKENIZER.sot_prev


def encode(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(text))


def builder(**options: Any) -> PromptBuilder:
    return PromptBuilder(TOKENIZER, DecodingOptions(**options), "transcribe", N_TEXT_CTX)


def test_without_timestamps_the_prompt_says_so() -> None:
    assert builder(without_timestamps=True).build("en") == (*SOT, TOKENIZER.no_timestamps)


def test_a_prompt_is_the_end_of_the_previous_text() -> None:
    assert builder().build("en") == SOT
    assert builder().build("en", [1, 2]) == (PREV, 1, 2, *SOT)
    assert builder().build("en", range(30)) == (PREV, *range(19, 30), *SOT)


def test_prefix_is_of_the_first_window_and_replaces_hotwords() -> None:
    prompts = builder(prefix="so", hotwords="xy")
    assert prompts.build("en", first=True) == (*SOT, *encode(" so"))
    assert prompts.build("en") == (PREV, *encode(" xy"), *SOT)


def test_a_text_that_was_begun_goes_on_and_takes_room_of_what_comes_before() -> None:
    assert builder().build("en", [1, 2], begun=(7, 8)) == (PREV, 1, 2, *SOT, 7, 8)
    assert builder().build("en", range(30), begun=(7,) * 9) == (PREV, 28, 29, *SOT, *(7,) * 9)
    assert builder(hotwords="xy").build("en", [1], begun=(7,) * 12) == (*SOT, *(7,) * 12)


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
    history = builder(initial_prompt=" hi ").begin_history()
    assert history.tokens == list(encode(" hi"))
    history.add([1, 2], 0.0)
    history.add([3], 0.4)
    assert history.tokens == [*encode(" hi"), 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "temperature"), [({}, 0.6), ({"condition_on_previous_text": False}, 0.0)]
)
def test_history_is_reset(options: dict[str, Any], temperature: float) -> None:
    history = builder(initial_prompt="hi", **options).begin_history()
    history.add([1, 2], temperature)
    assert history.tokens == []
    carried = builder(initial_prompt="hi", carry_initial_prompt=True, **options).begin_history()
    carried.add([1, 2], temperature)
    assert carried.tokens == list(encode(" hi"))


def test_a_carried_prompt_stays_whole() -> None:
    history = builder(initial_prompt="hi", carry_initial_prompt=True).begin_history()
    history.add(range(30), 0.0)
    assert history.tokens == [*encode(" hi"), *range(22, 30)]
