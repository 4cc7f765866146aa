"""The tables on digits, of made-up results. The peers are not needed."""

from __future__ import annotations

from typing import Any

from tools.peers.comparison import ORIGINAL, Clip, Results
from tools.peers.digits import make_token_rows, make_word_rows

CLIPS = [Clip("a.wav", ["one", "two"], [0.5, 1.0]), Clip("b.wav", ["six", "six"], [0.2, 0.9])]


def said(text: str, starts: list[float], tokens: list[int]) -> list[dict[str, Any]]:
    words = [[word, s, s + 0.3] for word, s in zip(text.split(), starts, strict=True)]
    return [{"text": f" {text}", "tokens": tokens, "words": words}]


THEIRS = [said("one two", [0.5, 1.1], [9, 1, 2, 8]), said("six", [0.2], [9, 6, 7])]
OURS = [said("one two", [0.52, 1.14], [9, 1, 2, 8]), said("six six", [0.2, 0.9], [9, 6, 6, 7])]
RESULTS = {
    name: Results({"greedy": files, "beam 5": files}, {})
    for name, files in ((ORIGINAL, THEIRS), ("ours", OURS))
}


def test_tokens_are_compared_with_the_original() -> None:
    rows = list(make_token_rows(CLIPS, RESULTS))
    assert rows[2] == f"| {ORIGINAL} | greedy | 25.00% | 100.00% | 100.0% |"
    assert rows[3] == "| ours | greedy | 0.00% | 87.50% | 50.0% |"


def test_word_times_are_compared_where_the_words_are_the_same() -> None:
    rows = list(make_word_rows(CLIPS, RESULTS))
    # Of the first clip: 20 and 40 ms apart. Off the truth: 0 and 100 ms.
    assert rows[2] == f"| {ORIGINAL} | 3 | 100.0% | 2 | 50 ms | 50.0% |"
    # Off the truth: 20, 140, 0 and 0 ms.
    assert rows[3] == "| ours | 2 | 50.0% | 4 | 10 ms | 75.0% |"
