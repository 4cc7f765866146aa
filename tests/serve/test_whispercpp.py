"""whisper.cpp's API, by the shapes of its `examples/server/server.cpp`."""

from __future__ import annotations

import httpx2
import pytest

from tests.support.serving import TEXT, HeldTranscriber, Served, serving


def test_json_has_a_line_for_each_segment(served: Served) -> None:
    assert served.post("/inference").json() == {"text": " one six one eight\n zero\n"}


def test_text_and_subtitles(served: Served) -> None:
    text = served.post("/inference", response_format="text")
    assert text.text == " one six one eight\n zero\n"
    assert text.headers["content-type"].startswith("text/html")
    srt = served.post("/inference", response_format="srt")
    assert srt.text.startswith("1\n00:00:00,540 --> ")
    assert srt.headers["content-type"].startswith("application/x-subrip")
    assert served.post("/inference", response_format="vtt").text.startswith("WEBVTT\n")


def test_verbose_json_has_words_and_the_language(served: Served) -> None:
    answer = served.post("/inference", response_format="verbose_json").json()
    assert (answer["task"], answer["language"]) == ("transcribe", "english")
    assert answer["detected_language"] == "english"
    assert answer["detected_language_probability"] == answer["language_probabilities"]["en"]
    words = [word for segment in answer["segments"] for word in segment["words"]]
    assert "".join(word["word"] for word in words).split() == TEXT.split()
    assert all(0 < word["probability"] <= 1 for word in words)
    given = served.post("/inference", response_format="verbose_json", language="en").json()
    assert "detected_language" not in given


def test_fields_become_options() -> None:
    held = HeldTranscriber()
    held.step.release(100)
    with serving(lambda _: held) as served:
        served.post(
            "/inference",
            temperature="0.0",
            temperature_inc="0.4",
            beam_size="3",
            best_of="2",
            language="auto",
            translate="true",
            prompt="Names: Ada",
            carry_initial_prompt="true",
            no_timestamps="1",
            logprob_thold="-0.5",
            no_speech_thold="0.7",
        )
        served.post("/inference", temperature_inc="0", beam_size="-1", language="de")
    first, second = (one.options for one in held.begun)
    assert (first.task, first.language) == ("translate", None)
    decoding = first.decoding
    assert (decoding.beam_size, decoding.best_of) == (3, 2)
    assert decoding.temperature_increment_on_fallback == 0.4
    assert (decoding.initial_prompt, decoding.carry_initial_prompt) == ("Names: Ada", True)
    assert decoding.without_timestamps
    assert (decoding.logprob_threshold, decoding.no_speech_threshold) == (-0.5, 0.7)
    assert (second.task, second.language) == ("transcribe", "de")
    assert second.decoding.beam_size is None
    assert second.decoding.temperatures == (0.0,)


@pytest.mark.parametrize(
    "fields",
    [{"file": b"no audio"}, {"beam_size": "x"}, {"beam_size": "1000"}, {"response_format": "doc"}],
)
def test_errors_are_one_text(served: Served, fields: dict[str, str]) -> None:
    answer = served.post("/inference", **fields)
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)


def test_a_request_without_a_file(served: Served) -> None:
    answer = httpx2.post(f"{served.url}/inference", files={"x": ("x", b"")})
    assert answer.status_code == 400
    assert "'file'" in answer.json()["error"]
