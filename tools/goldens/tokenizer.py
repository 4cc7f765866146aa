"""Goldens of the tokenizer, by openai-whisper's tokenizer."""

from __future__ import annotations

import base64
import json
import lzma
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.places import GOLDEN
from tools.goldens.provenance import list_versions
from whisper_npu_cli.checkpoints.vocabularies import MERGES

SENTENCES = {
    "en": " And so, my fellow Americans: ask not what your country can do for you -- don't!",
    "de": " Müßiggang ist aller Laster Anfang, sagte sie um 7:30 Uhr.",
    "fr": " L'été dernier, j'ai mangé des œufs à l'île d'Oléron…",
    "ru": " Съешь же ещё этих мягких французских булок.",
    "ar": " مرحبا بكم في العالم الجديد",
    "hi": " नमस्ते, आप कैसे हैं?",
    "ko": " 다람쥐 헌 쳇바퀴에 타고파",
    "zh": "我爱你,中国。今天天气很好",
    "ja": "本日は晴天なり。テスト、テスト",
    "th": "สวัสดีชาวโลก",
    "yue": "今日天氣好好，我哋去行山",
    "xx": " 🎵 (laughs) [MUSIC] <|endoftext|> <|0.00|> tabs\tand\n\nlines   100,000€ ♪♪ #5",
}


def make_tokenizer() -> None:
    """Write the two vocabularies of openai-whisper, and SENTENCES encoded by its tokenizer."""
    from whisper import tokenizer

    assets = Path(tokenizer.__file__).parent / "assets"
    for name in ("gpt2", "multilingual"):
        merges = _recover_merges(assets / f"{name}.tiktoken").astype("<u2")
        packed = lzma.compress(merges.tobytes(), preset=9 | lzma.PRESET_EXTREME)
        (MERGES / f"{name}.xz").write_bytes(packed)
    golden: dict[str, Any] = {"provenance": list_versions("openai-whisper")}
    for name, multilingual, n_languages in (
        ("multilingual", True, 99),
        ("large-v3", True, 100),
        ("english", False, 99),
    ):
        golden[name] = _make_golden(multilingual, n_languages)
    text = json.dumps(golden, ensure_ascii=False, separators=(",", ":"))
    (GOLDEN / "tokenizer.json").write_text(text + "\n", encoding="utf-8")


def _recover_merges(path: Path) -> np.ndarray:
    """Return the ids of the two parts that byte-pair encoding joins to each token from 256 on.

    tiktoken keeps tokens by rank only. Encoding a token with the tokens of lower rank ends in the
    two parts that its own merge joins.
    """
    lines = (line.split() for line in path.read_text().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__)[256:]:
        if not token:  # the last of multilingual.tiktoken is empty
            continue
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            pairs = [ranks.get(a + b, len(ranks)) for a, b in pairwise(parts)]
            at = pairs.index(min(pairs))
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        merges.append([ranks[part] for part in parts])
    return np.array(merges)


def _make_golden(multilingual: bool, n_languages: int) -> dict[str, Any]:
    from whisper.tokenizer import get_tokenizer

    def tokenizer(language: str | None = None, task: str | None = None) -> Any:
        return get_tokenizer(multilingual, num_languages=n_languages, language=language, task=task)

    plain = tokenizer()
    known = [code for code in SENTENCES if code == "xx" or code in plain.all_language_codes]
    specials = (
        *("sot", "eot", "transcribe", "translate", "sot_lm", "sot_prev", "no_speech"),
        *("no_timestamps", "timestamp_begin"),
    )
    golden: dict[str, Any] = {
        "n_vocab": plain.encoding.n_vocab,
        "special": {name: getattr(plain, name) for name in specials},
        "languages": dict(zip(plain.all_language_codes, plain.all_language_tokens, strict=True)),
        "non_speech_tokens": plain.non_speech_tokens,
        "sot_sequences": [],
        "texts": [],
        "words": [],
    }
    for language, task in (("en", "transcribe"), ("de", "translate"), ("zh", "transcribe")):
        if multilingual or (language, task) == ("en", "transcribe"):
            sequence = tokenizer(language, task).sot_sequence
            golden["sot_sequences"].append([language, task, sequence])
    for code in known:
        ids = plain.encode(SENTENCES[code], disallowed_special=())
        golden["texts"].append([SENTENCES[code], ids])
        begin = plain.timestamp_begin
        timed = [begin, *ids[:5], begin + 54, begin + 54, *ids[5:], begin + 1500, plain.eot]
        language = code if multilingual and code != "xx" else "en"
        words = tokenizer(language).split_to_word_tokens(timed)
        golden["words"].append([language, timed, plain.decode_with_timestamps(timed), *words])
    # Every second token leaves characters incomplete.
    broken = [
        i for code in known for i in plain.encode(SENTENCES[code], disallowed_special=())[1::2]
    ]
    words = tokenizer("en").split_to_word_tokens(broken)
    golden["words"].append(["en", broken, plain.decode_with_timestamps(broken), *words])
    return golden
