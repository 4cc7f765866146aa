"""What programs share, and which program takes part in what. The peers are not needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.peers.comparison import (
    FASTER,
    ORIGINAL,
    OURS,
    Trial,
    compute_error_rate,
    compute_share_alike,
    list_contenders,
)


def test_errors_are_counted_over_all_words() -> None:
    expected = [["one", "two"], ["six", "six"]]
    assert compute_error_rate(expected, [["one", "two"], ["six"]]) == pytest.approx(1 / 4)
    assert compute_error_rate(expected, expected) == 0


def test_the_longer_of_two_counts_for_what_they_share() -> None:
    assert compute_share_alike([[1, 2], [3]], [[1, 2], [3, 4]]) == pytest.approx(3 / 4)
    assert compute_share_alike([[1]], [[2, 3, 4]]) == 0


def test_openai_whisper_takes_no_part_in_batches() -> None:
    trials = [Trial("one", [], {}), Trial("eight", [], {"batch": 8})]
    model = Path("model")
    contenders = list_contenders(model, Path("model.pt"), Path("model-ct2"), trials)
    taken = {row.program: [trial.name for trial in row.trials] for row in contenders}
    assert taken == {ORIGINAL: ["one"], OURS: ["one", "eight"], FASTER: ["one", "eight"]}
