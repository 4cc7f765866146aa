from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from time import sleep

import pytest

from whisper_npu_cli.timings import StageTiming, Stopwatch, Timings, add_timings


def test_nested_stage_is_not_counted_twice() -> None:
    timings = Stopwatch()
    with timings.measure("mel"):
        with timings.measure("audio"):
            sleep(0.05)
        inner = timings.read().rows[0].seconds
    audio, mel = timings.read().rows
    assert (audio.stage, mel.stage) == ("audio", "mel")
    # sleep() never returns early; what mel did besides waiting for audio is a few microseconds
    assert audio.seconds == inner >= 0.05
    assert mel.seconds < audio.seconds
    assert timings.read().total_s == pytest.approx(audio.seconds + mel.seconds)


def test_a_wait_counts_for_no_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("whisper_npu_cli.timings.perf_counter", lambda: now[0])

    def work(seconds: float) -> None:
        now[0] += seconds

    timings = Stopwatch()
    with timings.measure("mel"):
        work(1)
        with timings.measure("audio"):
            work(2)
            with timings.pause():
                work(100)
                with timings.measure("vad"):
                    work(4)
                work(100)
            work(8)
        work(16)
    with timings.pause():
        work(100)
    rows = {row.stage: row.seconds for row in timings.read().rows}
    assert rows == {"audio": 10, "vad": 4, "mel": 17}
    assert timings.read().total_s == 31


def test_stages_of_two_threads_count_for_both_and_once_in_total() -> None:
    timings, both = Stopwatch(), Barrier(2)

    def run(stage: str) -> None:
        with timings.measure(stage):
            both.wait()
            sleep(0.05)
            both.wait()

    with ThreadPoolExecutor() as pool:
        list(pool.map(run, ("encode", "decode")))
    encode, decode = timings.read().rows
    assert min(encode.seconds, decode.seconds) >= 0.05
    assert timings.read().total_s <= encode.seconds + decode.seconds - 0.05


def test_rows_are_in_pipeline_order_and_add_up() -> None:
    timings = Stopwatch()
    for stage in ("decode", "mel", "decode"):
        with timings.measure(stage, "engine of " + stage) as row:
            row.tokens += 3
    assert [(row.stage, row.calls, row.tokens) for row in timings.read().rows] == [
        ("mel", 1, 3),
        ("decode", 2, 6),
    ]
    assert timings.read().rows[1].engine == "engine of decode"


def test_every_engine_of_a_stage_is_named_once() -> None:
    timings = Stopwatch()
    for engine in ("npu", "npu", "openvino f32", "npu"):
        with timings.measure("encode", engine):
            pass
    assert timings.read().rows[0].engine == "npu, openvino f32"


def test_time_is_counted_when_the_stage_fails() -> None:
    timings = Stopwatch()
    with pytest.raises(RuntimeError), timings.measure("audio"):
        raise RuntimeError
    assert timings.read().rows[0].calls == 1


def test_unknown_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown stage 'lunch'"), Stopwatch().measure("lunch"):
        pass


def test_rates_are_relative_to_the_audio() -> None:
    row = StageTiming("mel", "", seconds=0.5, calls=1, tokens=0, audio_s=10.0)
    assert row.rtf == 0.05
    assert row.speed == 20.0
    assert replace(row, audio_s=0.0).rtf is None
    assert replace(row, seconds=0.0).speed is None


def test_timings_add_up() -> None:
    def timing(stage: str, engine: str, seconds: float, audio_s: float) -> StageTiming:
        return StageTiming(stage, engine, seconds, calls=2, tokens=3, audio_s=audio_s)

    first = Timings(10.0, 5.0, (timing("mel", "", 1.0, 10.0), timing("encode", "a", 2.0, 10.0)))
    second = Timings(30.0, 6.0, (timing("mel", "", 3.0, 30.0), timing("encode", "b", 4.0, 30.0)))
    added = add_timings([first, second])
    assert (added.audio_s, added.total_s) == (40.0, 11.0)
    rows = [(row.stage, row.engine, row.seconds, row.calls, row.tokens) for row in added.rows]
    assert rows == [("mel", "", 4.0, 4, 6), ("encode", "a", 2.0, 2, 3), ("encode", "b", 4.0, 2, 3)]
    assert {row.audio_s for row in added.rows} == {40.0}
