"""The tables on recordings, of made-up results. The peers and their normalisers are not needed."""

from __future__ import annotations

from typing import Any

from tools.peers.comparison import ORIGINAL, Clip, Results
from tools.peers.recordings import (
    collect_texts,
    describe_clips,
    make_clip_rows,
    make_long_rows,
)

CLIPS = [Clip("a.wav", ["One", "two."]), Clip("b.wav", ["Three"]), Clip("c.wav", [])]
TRIALS = ("English, greedy", "English, beam 5", "sequential")


def written(*texts: str) -> Results:
    files: list[list[Any]] = [[{"text": f" {text}"}] for text in texts]
    return Results(dict.fromkeys(TRIALS, files), {})


RESULTS = {
    ORIGINAL: written("One, two.", "Tree.", "You."),
    "ours": written("One two.", "Three.", "You."),
}
TEXTS = collect_texts(dict.fromkeys(TRIALS, CLIPS), RESULTS)
WORDS = {pair: pair[1].lower().replace(",", "").replace(".", "").split() for pair in TEXTS}


def test_errors_are_counted_in_normal_words_and_texts_compared_to_the_letter() -> None:
    rows = list(make_clip_rows(CLIPS, "English", RESULTS, WORDS))
    assert rows[2] == f"| {ORIGINAL} | 33.3% | 3 of 3 | 33.3% | 3 of 3 |"
    assert rows[3] == "| ours | 0.0% | 1 of 3 | 0.0% | 1 of 3 |"


def test_a_mode_that_a_program_lacks_is_a_dash() -> None:
    rows = list(make_long_rows(CLIPS, {"base": RESULTS}, WORDS))
    assert rows[2] == f"| base | {ORIGINAL} | 33.3% | – | – |"


def test_recordings_without_a_known_text_are_no_part_of_the_words(monkeypatch: Any) -> None:
    lengths = {"a.wav": 60.0, "b.wav": 30.0}
    monkeypatch.setattr(
        "soundfile.info", lambda path: type("Info", (), {"duration": lengths[path]})
    )
    assert describe_clips(CLIPS, WORDS) == (
        "Error rates of 2 recordings, 1.5 minutes, 3 words: one word is 33.3%."
    )
