from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transcripts import say
from whisper_npu_cli.writers.function_words import FUNCTION_WORDS
from whisper_npu_cli.writers.phrases import find_pieces, measure_width


def list_pieces(text: str, language: str = "en", widest: int = 42) -> list[str]:
    return [piece.text.strip() for piece in find_pieces(say(text).segments, language, widest)]


@pytest.mark.parametrize(
    ("text", "width"),
    [("abc d", 5), ("日本語", 6), ("ｱｲｳ", 3), ("한국", 4), ("e\u0301", 1), ("שָׁלוֹם", 4), ("", 0)],
)
def test_width_is_in_columns(text: str, width: int) -> None:
    assert measure_width(text) == width


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("one two", ["one", "two"]),
        ("twenty/-/one", ["twenty-one"]),  # no space, no break
        ("Vraiment ? Oui », dit-il", ["Vraiment ?", "Oui »,", "dit-il"]),
        ("« Oui ¿ qué", ["« Oui", "¿ qué"]),
        ("costs $ 5", ["costs", "$", "5"]),
        ("日本/語/。/です", ["日本", "語。", "です"]),
        ("「/日/」/と", ["「日」", "と"]),
        ("キ/ャ/ラ/ー/人/々", ["キャ", "ラー", "人々"]),
        ("iPhone/を/買", ["iPhone", "を", "買"]),
        ("เ/ก/ะ/ด", ["เกะ", "ด"]),
    ],
)
def test_what_belongs_together_is_one_piece(text: str, pieces: list[str]) -> None:
    assert list_pieces(text) == pieces


def test_a_word_without_spaces_that_is_too_wide_is_taken_apart() -> None:
    (segment,) = say("ウィスパーです。", word_s=0.8).segments
    pieces = find_pieces([segment], "ja", 6)
    assert [piece.text for piece in pieces] == ["ウィ", "ス", "パー", "で", "す。"]
    assert [piece.start for piece in pieces] == pytest.approx([0.0, 0.2, 0.3, 0.5, 0.6])
    assert list_pieces("Donaudampfschiffahrt", widest=6) == ["Donaudampfschiffahrt"]


@pytest.mark.parametrize(
    ("language", "worst", "best"),
    [
        ("en", "the", "end."),
        ("en", "Mr.", "Smith,"),
        ("en", "J.", "Smith"),
        ("de", "eine", "Frage"),
        ("fr", "“les", "voix"),
        ("es", "una", "casa"),
        ("ru", "не", "знаю"),
    ],
)
def test_a_line_ends_worst_after_a_function_word(language: str, worst: str, best: str) -> None:
    first, second, _ = find_pieces(say(f"{worst} {best} Next").segments, language, 42)
    assert first.strain > second.strain


def test_sentences_then_clauses_then_pauses_then_phrases() -> None:
    text = "End. Clause, pause | here we go in to it"
    end, clause, pause, here, we, go, *_ = find_pieces(say(text).segments, "en", 42)
    assert end.strain < clause.strain <= pause.strain < go.strain < here.strain < we.strain


def test_a_dot_ends_no_sentence_that_goes_on() -> None:
    first, second, third, _ = find_pieces(say("approx. two... Three. Four").segments, "en", 42)
    assert first.strain > second.strain > third.strain
    me, _ = find_pieces(say("я. Он").segments, "ru", 42)
    assert me.strain == third.strain  # no initial of a name


def test_no_language_is_unknown_to_the_layout() -> None:
    assert len(find_pieces(say("the end").segments, "xx", 42)) == 2
    assert all(word == word.lower() for words in FUNCTION_WORDS.values() for word in words)


@given(st.text(max_size=60), st.integers(1, 42))
def test_pieces_have_the_whole_text(text: str, widest: int) -> None:
    segments = say(text).segments
    pieces = find_pieces(segments, "en", widest)
    assert "".join("".join(piece.text.split()) for piece in pieces) == "".join(
        segments[0].text.split()
    )
    assert all(piece.width == measure_width(piece.text.strip()) for piece in pieces)
