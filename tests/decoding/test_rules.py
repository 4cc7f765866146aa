from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.vocabularies import BYTES as TOKENIZER
from whisper_npu_cli.decoding.rules import (
    NoRepeatNgram,
    RepetitionPenalty,
    SuppressBlank,
    SuppressTokens,
    TimestampRules,
    make_token_rules,
)
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.options import DecodingOptions

EOT, NO_TIMESTAMPS, BEGIN, N_VOCAB = 10, 14, 15, 40
RULES = TimestampRules(BEGIN, EOT, NO_TIMESTAMPS, max_initial_index=5)


def allowed(sampled: list[int], favourite: int | None = None) -> set[int]:
    """The tokens left by the timestamp rules, of flat logits with one raised."""
    logits = np.zeros((1, N_VOCAB), np.float32)
    if favourite is not None:
        logits[0, favourite] = 20.0  # likelier than all timestamps together
    RULES.apply(logits, [sampled])
    return set(np.flatnonzero(logits[0] > -np.inf).tolist())


def test_first_token_is_an_early_timestamp() -> None:
    assert allowed([]) == set(range(BEGIN, BEGIN + 6))


def test_text_follows_a_start_timestamp() -> None:
    assert allowed([BEGIN]) == set(range(BEGIN)) - {NO_TIMESTAMPS}


def test_after_an_end_timestamp_comes_a_start_or_the_end() -> None:
    assert allowed([BEGIN, 3, BEGIN + 4], favourite=EOT) == {*range(EOT, BEGIN)} - {
        NO_TIMESTAMPS
    } | set(range(BEGIN + 4, N_VOCAB))


def test_a_segment_ends_after_it_started() -> None:
    after_text = allowed([BEGIN + 4, 3], favourite=3)
    assert {t for t in after_text if t >= BEGIN} == set(range(BEGIN + 5, N_VOCAB))


def test_timestamps_win_when_together_they_are_likelier_than_any_text() -> None:
    assert allowed([BEGIN, 3]) == set(range(BEGIN + 1, N_VOCAB))
    assert 3 in allowed([BEGIN, 3], favourite=3)


def test_rows_are_masked_by_their_own_history() -> None:
    logits = np.zeros((2, N_VOCAB), np.float32)
    RULES.apply(logits, [[], [BEGIN]])
    assert (logits[0, :BEGIN] == -np.inf).all()
    assert (logits[1, BEGIN:] == -np.inf).all()


def test_blank_is_forbidden_only_at_the_beginning() -> None:
    logits = np.zeros((2, N_VOCAB), np.float32)
    SuppressBlank((2, EOT)).apply(logits, [[], [5]])
    assert set(np.flatnonzero(logits[0] == -np.inf)) == {2, EOT}
    assert (logits[1] == 0).all()


@pytest.mark.parametrize("row", [0, 1])
def test_suppressed_tokens_are_forbidden_always(row: int) -> None:
    logits = np.zeros((2, N_VOCAB), np.float32)
    SuppressTokens(np.array([1, 7])).apply(logits, [[], [5]])
    assert set(np.flatnonzero(logits[row] == -np.inf)) == {1, 7}


def test_repetition_penalty_makes_each_sampled_token_less_likely_once() -> None:
    logits = np.array([[2.0, -2.0, 1.0, 4.0]], np.float32)
    RepetitionPenalty(2.0).apply(logits, [[0, 1, 0]])
    assert logits.tolist() == [[1.0, -4.0, 1.0, 4.0]]


def test_no_repeat_ngram_forbids_what_would_complete_one() -> None:
    logits = np.zeros((3, 6), np.float32)
    NoRepeatNgram(3).apply(logits, [[1, 2, 3, 1, 2, 4, 1, 2], [1, 2], []])
    assert [set(np.flatnonzero(row == -np.inf)) for row in logits] == [{3, 4}, set(), set()]


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 4))
def test_no_ngram_comes_twice(sampled: list[int], size: int) -> None:
    logits = np.zeros((1, 4), np.float32)
    NoRepeatNgram(size).apply(logits, [sampled])
    known = {tuple(sampled[i : i + size]) for i in range(len(sampled) - size + 1)}
    last = tuple(sampled[len(sampled) - size + 1 :]) if size > 1 else ()
    for token in range(4):
        assert (logits[0, token] == -np.inf) == ((*last, token) in known)


def test_suppressed_tokens() -> None:
    def suppressed(text: str) -> set[int]:
        rules = make_token_rules(TOKENIZER, DecodingOptions(suppress_tokens=text))
        return {t for rule in rules if isinstance(rule, SuppressTokens) for t in rule.tokens}

    control = {TOKENIZER.sot, TOKENIZER.sot_prev, TOKENIZER.no_speech, TOKENIZER.transcribe}
    assert suppressed("-1") > control | set(TOKENIZER.non_speech_tokens)
    assert suppressed("5,7") > control | {5, 7}
    assert not suppressed("5,7") & set(TOKENIZER.non_speech_tokens) - {5, 7}
    assert suppressed("") == set()  # as in openai-whisper: not even control tokens


@pytest.mark.parametrize(("limit_s", "index"), [(1.0, 50), (0.1, 5), (0.0, None), (None, None)])
def test_first_timestamp(limit_s: float | None, index: int | None) -> None:
    *_, rule = make_token_rules(TOKENIZER, DecodingOptions(max_initial_timestamp=limit_s))
    assert isinstance(rule, TimestampRules)
    assert rule.max_initial_index == index


def test_without_timestamps_there_are_no_timestamp_rules() -> None:
    rules = make_token_rules(TOKENIZER, DecodingOptions(without_timestamps=True))
    assert not any(isinstance(rule, TimestampRules) for rule in rules)


@pytest.mark.parametrize("suppressed", ["999999", "-2", "one"])
def test_tokens_that_there_are_not_cannot_be_suppressed(suppressed: str) -> None:
    with pytest.raises(UsageError):
        make_token_rules(TOKENIZER, DecodingOptions(suppress_tokens=suppressed))
