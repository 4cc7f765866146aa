from __future__ import annotations

from time import sleep

import pytest

from whisper_npu_cli.timing import StageTiming, Timings


def test_nested_stage_is_not_counted_twice() -> None:
    timings = Timings()
    with timings.measure("mel"):
        with timings.measure("audio"):
            sleep(0.05)
        inner = timings.rows[0].seconds
    audio, mel = timings.rows
    assert (audio.stage, mel.stage) == ("audio", "mel")
    # sleep() never returns early; what mel did besides waiting for audio is a few microseconds
    assert audio.seconds == inner >= 0.05
    assert mel.seconds < audio.seconds
    assert timings.total_s == audio.seconds + mel.seconds


def test_rows_are_in_pipeline_order_and_add_up() -> None:
    timings = Timings()
    for stage in ("decode", "mel", "decode"):
        with timings.measure(stage, "engine of " + stage) as row:
            row.tokens += 3
    assert [(row.stage, row.calls, row.tokens) for row in timings.rows] == [
        ("mel", 1, 3),
        ("decode", 2, 6),
    ]
    assert timings.rows[1].engine == "engine of decode"


def test_time_is_counted_when_the_stage_fails() -> None:
    timings = Timings()
    with pytest.raises(RuntimeError), timings.measure("audio"):
        raise RuntimeError
    assert timings.rows[0].calls == 1


def test_unknown_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown stage 'lunch'"), Timings().measure("lunch"):
        pass


def test_rates_are_relative_to_the_audio() -> None:
    row = StageTiming("mel", seconds=0.5)
    assert row.rtf(10.0) == 0.05
    assert row.speed(10.0) == 20.0
    assert row.rtf(0.0) is None
    assert StageTiming("mel").speed(10.0) is None
