"""The tokenizer against openai-whisper's (golden/tokenizer.json), on its three vocabularies."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from tests.support.places import GOLDEN
from tests.support.vocabularies import published_tokenizer_json
from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.errors import CheckpointError, UsageError

VOCABULARIES = ("multilingual", "english", "large-v3")
EXPECTED = json.loads((GOLDEN / "tokenizer.json").read_text(encoding="utf-8"))


@cache
def tokenizer(vocabulary: str) -> Tokenizer:
    return Tokenizer(
        published_tokenizer_json(vocabulary),
        is_multilingual=vocabulary != "english",
        source=vocabulary,
    )


def edited(**changes: Any) -> bytes:
    """Return the multilingual tokenizer.json with fields replaced, or tokens left out."""
    fields = json.loads(published_tokenizer_json("multilingual"))
    return json.dumps(fields | changes).encode()


def without_tokens(*prefixes: str) -> bytes:
    tokens = json.loads(published_tokenizer_json("multilingual"))["added_tokens"]
    return edited(added_tokens=[t for t in tokens if not t["content"].startswith(prefixes)])


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
class TestAgainstOpenAi:
    def test_special_ids(self, vocabulary: str) -> None:
        ours, expected = tokenizer(vocabulary), EXPECTED[vocabulary]
        found = {name: getattr(ours, name) for name in expected["special"]}
        assert found == expected["special"]
        assert ours.n_vocab == expected["n_vocab"]
        assert ours.language_ids == expected["languages"]

    def test_encode(self, vocabulary: str) -> None:
        for text, ids in EXPECTED[vocabulary]["texts"]:
            assert tokenizer(vocabulary).encode(text) == ids

    def test_decode_restores_the_text(self, vocabulary: str) -> None:
        for text, ids in EXPECTED[vocabulary]["texts"]:
            assert tokenizer(vocabulary).decode(ids) == text

    def test_decode_with_timestamps(self, vocabulary: str) -> None:
        for _, ids, text, *_ in EXPECTED[vocabulary]["words"]:
            assert tokenizer(vocabulary).decode_with_timestamps(ids) == text

    def test_split_to_word_tokens(self, vocabulary: str) -> None:
        for language, ids, _, words, word_ids in EXPECTED[vocabulary]["words"]:
            assert tokenizer(vocabulary).split_to_word_tokens(ids, language) == (words, word_ids)

    def test_sot_sequence(self, vocabulary: str) -> None:
        for language, task, ids in EXPECTED[vocabulary]["sot_sequences"]:
            assert tokenizer(vocabulary).sot_sequence(language, task) == tuple(ids)

    def test_non_speech_tokens(self, vocabulary: str) -> None:
        expected = tuple(EXPECTED[vocabulary]["non_speech_tokens"])
        assert tokenizer(vocabulary).non_speech_tokens == expected


def test_multilingual_vocabulary_is_shorter_for_other_scripts() -> None:
    text = "다람쥐 헌 쳇바퀴에 타고파"
    multilingual, english = (tokenizer(v).encode(text) for v in ("multilingual", "english"))
    assert len(multilingual) < len(english)


def test_characters_of_several_tokens_stay_whole_and_broken_ones_stay_apart() -> None:
    ids = [8404, 871, 287, 6, 246, 526, 3210, 20378]  # from openai/whisper's test_tokenizer.py
    words, word_ids = tokenizer("multilingual").split_to_word_tokens(ids, "zh")
    assert words == [" elle", " est", " l", "'", "\ufffd", "é", "rit", "oire"]
    assert [i for word in word_ids for i in word] == ids


def test_decode_drops_what_is_not_text() -> None:
    ours = tokenizer("multilingual")
    ids = [*ours.sot_sequence("en"), ours.timestamp_begin, *ours.encode(" Hello"), ours.eot]
    assert ours.decode(ids) == " Hello"


def test_special_tokens_in_a_text_are_text() -> None:
    ours = tokenizer("multilingual")
    text = "<|endoftext|><|5.00|>"
    ids = ours.encode(text)
    assert not any(ours.is_special(i) for i in ids)
    assert ours.decode(ids) == text


def test_ids_of_padded_embeddings_decode_to_nothing_but_a_name() -> None:
    ours = tokenizer("multilingual")
    assert ours.decode([ours.n_vocab + 3]) == ""


def test_timestamps_unnamed_in_the_file_follow_notimestamps() -> None:
    data = without_tokens(*(f"<|{digit}" for digit in range(10)))
    ours = Tokenizer(data, is_multilingual=True, source="old")
    named = tokenizer("multilingual")
    assert ours.timestamp_begin == named.timestamp_begin
    assert ours.n_vocab == named.n_vocab
    ids = [ours.timestamp_begin + 54, *ours.encode(" So")]
    assert ours.decode_with_timestamps(ids) == "<|1.08|> So"
    assert ours.decode(ids) == " So"


def test_english_only_refuses_other_languages_and_translation() -> None:
    for language, task in (("de", "transcribe"), ("en", "translate")):
        with pytest.raises(UsageError, match="English-only"):
            tokenizer("english").sot_sequence(language, task)


def test_language_that_the_vocabulary_lacks() -> None:
    assert tokenizer("large-v3").sot_sequence("yue")
    with pytest.raises(UsageError, match="no language 'yue'"):
        tokenizer("multilingual").sot_sequence("yue")


def test_unknown_task() -> None:
    with pytest.raises(UsageError, match="unknown task 'sing'"):
        tokenizer("multilingual").sot_sequence("en", "sing")


@pytest.mark.parametrize(
    ("data", "phrase"),
    [
        (b"{", "tokenizer.json is damaged"),
        (b"[]", "tokenizer.json is damaged"),
        (b"", "tokenizer.json is damaged"),
        (edited(added_tokens=[]), "no special tokens"),
        (edited(model={"type": "BPE"}), "tokenizer.json is damaged"),
        (edited(version="9" * 5000), "tokenizer.json is damaged: Unknown tokenizer version"),
        (without_tokens("<|translate|>"), r"no token <\|translate\|>"),
        (without_tokens("<|nocaptions|>"), r"no token <\|nospeech\|> or <\|nocaptions\|>"),
    ],
)
def test_damaged_file_is_one_clear_error(data: bytes, phrase: str) -> None:
    with pytest.raises(CheckpointError, match=phrase) as caught:
        Tokenizer(data, is_multilingual=True, source="model x")
    assert str(caught.value).startswith("model x: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
