from __future__ import annotations

from whisper_npu_cli.timings import StageTiming, Timings
from whisper_npu_cli.transcript import Result, Segment, Transcript, Word
from whisper_npu_cli.writers.document import (
    Failed,
    Skipped,
    describe_result,
    is_complete,
    make_json_schema,
    to_plain,
)

SEGMENT = Segment(0, 0, 0.0, 1.0, " one", (1, 2), 0.0, -0.25, 0.8, 0.01)
RESULT = Result(
    transcript=Transcript("en", 2.0, (SEGMENT,), {"en": 1.0}),
    timings=Timings(2.0, 0.5, (StageTiming("decode", "numba", 0.5, 1, 7, 2.0),)),
    windows=(),
    uncovered=((1.0, 2.0),),
    long_form="sequential",
    is_complete=True,
)


def test_a_result_is_described_with_what_there_is() -> None:
    described = to_plain(describe_result("a.wav", RESULT))
    assert described["text"] == " one"
    assert described["uncovered"] == [[1.0, 2.0]]
    assert described["timings"] == [
        {
            **{"stage": "decode", "seconds": 0.5, "calls": 1, "rtf": 0.25, "speed": 4.0},
            **{"engine": "numba", "tokens": 7},
        }
    ]
    assert not {"error", "hint"} & described.keys()
    assert "words" not in described["segments"][0]


def test_words_are_objects() -> None:
    word = Word(" one", 0.0, 1.0, 0.5)
    assert to_plain([word]) == [{"word": " one", "start": 0.0, "end": 1.0, "probability": 0.5}]


def test_what_is_complete() -> None:
    assert is_complete(describe_result("a.wav", RESULT))
    assert is_complete(Skipped("a.wav"))
    assert not is_complete(Failed("a.wav", "no such file"))


def test_every_object_of_the_schema_is_described_and_closed() -> None:
    for name, definition in make_json_schema()["$defs"].items():
        assert definition["description"], name
        assert definition["additionalProperties"] is False
        assert set(definition["required"]) <= definition["properties"].keys()
