"""The tables and the chart of the speed benchmark. The peers are not needed."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from tools.peers.report import draw_chart, make_growth_tables, make_real_table, make_table


def document() -> dict[str, Any]:
    return {
        "model": "base",
        "n_windows": 2,
        "duration_s": 60.0,
        "tokens_per_window": 90,
        "threads": 2,
        "cpu": "some CPU",
        "date": "2026-01-01",
        "machine": {"memory_read_gb_s": 30.0},
        "versions": {"peer": "1.0"},
        "rows": [
            {
                "program": program,
                "precision": precision,
                "way": "greedy",
                "seconds": seconds,
                "joules": [None] * 3,
                "peak_mb": 100,
            }
            for program, precision, seconds in (
                ("whisper-npu", "auto", [2.0, 4.0, 2.0]),
                ("peer & co", "int8", [5.0, 8.0, 3.0]),
            )
        ],
    }


def test_ratios_are_taken_within_a_round() -> None:
    rows = make_table(document()).splitlines()[-2:]
    assert rows[0] == "| whisper-npu | auto | greedy | 2.0 | 30.0 |  | 100 |"
    # 2.5, 2.0 and 1.5; of the medians it would be 2.5.
    assert rows[1] == "| peer & co | int8 | greedy | 5.0 | 12.0 | 2.00 x | 100 |"


def test_chart_shows_the_fastest_first() -> None:
    root = ElementTree.fromstring(draw_chart(document()))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[1] == "some CPU, 2 threads, 1 January 2026"
    assert texts[2:] == ["whisper-npu greedy", "30.0 x", "peer & co int8 greedy", "12.0 x"]


def test_growth_compares_pairs() -> None:
    rows = [
        {"program": program, "minutes": 1, "n_windows": 2, "seconds": seconds, "peak_mb": 10}
        for program, seconds in (("whisper-npu", 1.0), ("faster-whisper", 3.0))
    ]
    found = document() | {"minutes": rows, "batches": [], "sizes": []}
    found["batches"] = found["sizes"] = rows
    assert "| 1 | 500 | 10 | 1500 | 10 | 3.00 x |" in make_growth_tables(found)


def test_real_speech_is_compared_within_rounds_too() -> None:
    found = document() | {"duration_s": 120.0}
    for row in found["rows"]:
        row["word_error_rate"] = 0.125
    rows = make_real_table(found).splitlines()[-2:]
    assert rows[0] == "| whisper-npu | auto | greedy | 2.0 | 60.0 |  | 100 | 12.5% |"
    assert rows[1] == "| peer & co | int8 | greedy | 5.0 | 24.0 | 2.00 x | 100 | 12.5% |"


def test_energy_is_that_of_an_hour_of_audio() -> None:
    found = document()
    found["machine"]["idle_w"] = 5.0
    for row in found["rows"]:
        row["joules"] = [20.0, 10.0, 30.0]
    assert make_table(found).splitlines()[-1].endswith("| 2.00 x | 100 | 1200 |")
    assert "not measured" not in make_table(found)
    assert "Energy: not measured" in make_table(document())
