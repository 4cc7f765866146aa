from __future__ import annotations

import pytest

from tests.support.scripted import ScriptedDecoder, window
from tests.support.vocabularies import BYTES as TOKENIZER
from whisper_npu_cli.decoding.language import detect_language


def test_languages_are_ranked_by_probability() -> None:
    ids = TOKENIZER.language_ids
    script = {0: {ids["de"]: 0.6, ids["en"]: 0.3}, 1: {ids["fr"]: 0.9}}
    decoder = ScriptedDecoder(lambda i, _: script[i], n_vocab=TOKENIZER.n_vocab)
    first, second = detect_language(decoder, [window(0), window(1)], TOKENIZER)
    assert list(first)[:2] == ["de", "en"]
    assert first["de"] == pytest.approx(2 / 3, abs=1e-4)  # of 99 languages
    assert sum(first.values()) == pytest.approx(1, abs=1e-5)
    assert next(iter(second)) == "fr"
    assert len(decoder.started) == 1
