"""Languages by code, by English name and by other names, as openai-whisper knows them."""

from __future__ import annotations

import json

import pytest

from tests.support.places import GOLDEN
from whisper_npu_cli.checkpoints.languages import LANGUAGES, language_code
from whisper_npu_cli.errors import UsageError


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("de", "de"),
        ("German", "de"),
        (" CASTILIAN ", "es"),
        ("haitian creole", "ht"),
        ("yue", "yue"),
    ],
)
def test_language_code(language: str, code: str) -> None:
    assert language_code(language) == code


def test_language_code_unknown() -> None:
    with pytest.raises(UsageError, match="unknown language 'klingon'"):
        language_code("klingon")


def test_there_are_a_hundred_languages() -> None:
    assert len(LANGUAGES) == 100
    golden = json.loads((GOLDEN / "tokenizer.json").read_text(encoding="utf-8"))
    assert set(golden["large-v3"]["languages"]) == set(LANGUAGES)
