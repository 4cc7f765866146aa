"""OpenAI's API as OpenAI's own client uses it: every method, format and way of waiting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import openai
import pytest
import soundfile
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from tests.support.digits import compose_recording
from tests.support.serving import (
    SAMPLE,
    TEXT,
    HeldTranscriber,
    HeldTranscription,
    Served,
    serving,
)
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.serve.openai import Deltas
from whisper_npu_cli.transcript import Damage, Result, Segment

Client = openai.OpenAI


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Client]:
    with Client(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as one:
        yield one


def test_json(client: Client) -> None:
    answer = client.audio.transcriptions.create(file=SAMPLE, model="whisper-1")
    assert answer.text == TEXT
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == pytest.approx(soundfile.info(SAMPLE).duration)


def test_text_and_subtitles(client: Client) -> None:
    create = client.audio.transcriptions.create
    text = create(file=SAMPLE, model="whisper-1", response_format="text")
    assert text == f"{TEXT}\n"
    srt = create(file=SAMPLE, model="whisper-1", response_format="srt")
    assert srt.startswith("1\n00:00:00,540 --> 00:00:02,900\none six one eight\n\n2\n")
    vtt = create(file=SAMPLE, model="whisper-1", response_format="vtt")
    assert " ".join(cue.text for cue in webvtt.from_string(vtt)) == TEXT


@pytest.mark.parametrize("granularities", [["segment"], ["word"], ["segment", "word"]])
def test_verbose_json(client: Client, granularities: list[Any]) -> None:
    answer = client.audio.transcriptions.create(
        file=SAMPLE,
        model="whisper-1",
        response_format="verbose_json",
        timestamp_granularities=granularities,
    )
    assert (answer.text, answer.language) == (TEXT, "english")
    assert answer.duration == pytest.approx(soundfile.info(SAMPLE).duration)
    if "segment" in granularities:
        assert answer.segments is not None
        assert "".join(segment.text for segment in answer.segments).strip() == TEXT
        assert all(0 <= one.start < one.end <= answer.duration for one in answer.segments)
    else:
        assert answer.segments is None
    if "word" in granularities:
        assert answer.words is not None
        assert [word.word for word in answer.words] == TEXT.split()
        assert all(one.start <= one.end for one in answer.words)
    else:
        assert answer.words is None


@pytest.mark.parametrize("key", ["timestamp_granularities[]", "timestamp_granularities"])
@pytest.mark.parametrize("value", [["word", "segment"], "segment,word", '["word","segment"]'])
def test_granularities_in_any_spelling(served: Served, key: str, value: Any) -> None:
    fields = {"response_format": "verbose_json", key: value}
    answer = served.post("/v1/audio/transcriptions", **fields).json()
    assert [word["word"] for word in answer["words"]] == TEXT.split()
    assert answer["segments"]


def test_diarized_json_tells_the_channels(client: Client, tmp_path: Any) -> None:
    first, second = compose_recording(6.0, 0.5, 1), compose_recording(6.0, 0.5, 2)
    n = min(first.size, second.size)
    path = tmp_path / "call.wav"
    soundfile.write(path, np.stack([first[:n], second[:n]], axis=1), SAMPLE_RATE)
    create = client.audio.transcriptions.create
    answer = create(file=path, model="x", response_format="diarized_json")
    assert {segment.speaker for segment in answer.segments} == {"A", "B"}
    named = create(
        file=path,
        model="x",
        response_format="diarized_json",
        known_speaker_names=["agent", "customer"],
    )
    assert {segment.speaker for segment in named.segments} == {"agent", "customer"}
    events = list(create(file=path, model="x", response_format="diarized_json", stream=True))
    spoken = [event for event in events if event.type == "transcript.text.segment"]
    assert [event.text for event in spoken] == [segment.text for segment in answer.segments]
    with pytest.raises(openai.BadRequestError, match="one channel"):
        create(file=SAMPLE, model="x", response_format="diarized_json")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # OpenAI gives them up in 2027
def test_translations(client: Client) -> None:
    create = client.audio.translations.create
    assert create(file=SAMPLE, model="whisper-1").text
    verbose = create(file=SAMPLE, model="whisper-1", response_format="verbose_json")
    assert verbose.language == "english"
    assert verbose.text == create(file=SAMPLE, model="whisper-1", response_format="text").strip()


def test_streamed_deltas_add_up_to_the_text(client: Client) -> None:
    stream = client.audio.transcriptions.create(file=SAMPLE, model="whisper-1", stream=True)
    *deltas, done = list(stream)
    assert done.type == "transcript.text.done"
    assert len(deltas) > 1
    assert "".join(event.delta for event in deltas) == done.text == TEXT


def test_verbose_json_is_streamed_with_what_served_it(served: Served) -> None:
    fields = {"response_format": "verbose_json", "timestamp_granularities[]": ["segment", "word"]}
    whole = served.post("/v1/audio/transcriptions", **fields).json()
    answer = served.post("/v1/audio/transcriptions", stream="true", **fields)
    blocks = answer.text.removesuffix("\n\n").split("\n\n")
    *deltas, done = (json.loads(block.removeprefix("data: ")) for block in blocks)
    for name in ("segments", "words"):
        assert [one for delta in deltas for one in delta[name]] == whole[name]
        assert done[name] == whole[name]
    assert "".join(delta["delta"] for delta in deltas) == done["text"] == TEXT
    assert (done["language"], done["duration"]) == ("english", whole["duration"])
    work = done["whisper_npu"]
    assert (work["model"], work["device"], work["remarks"]) == ("demo", "cpu", [])
    stages = [row["stage"] for row in work["stages"]]
    assert stages == ["audio", "vad", "mel", "encode", "decode", "align"]
    assert work["files"]["txt"] == "one six one eight\nzero\n"
    assert work["files"]["srt"].count("-->") == work["files"]["vtt"].count("-->") == 2


@given(st.lists(st.text(" a\n", max_size=4), max_size=6))
def test_deltas_are_the_text_without_the_space_around_it(texts: list[str]) -> None:
    deltas = Deltas()
    assert "".join(map(deltas.add, texts)) == "".join(texts).strip()


def test_logprobs(client: Client) -> None:
    create = client.audio.transcriptions.create
    answer = create(file=SAMPLE, model="x", include=["logprobs"])
    assert answer.logprobs is not None
    assert "".join(one.token or "" for one in answer.logprobs).strip() == answer.text == TEXT
    assert all(one.logprob is not None and one.logprob <= 0 for one in answer.logprobs)
    *deltas, done = list(create(file=SAMPLE, model="x", include=["logprobs"], stream=True))
    expected = [(one.token, one.logprob) for one in answer.logprobs]
    assert [(one.token, one.logprob) for one in done.logprobs] == expected
    assert sum(len(event.logprobs) for event in deltas) == len(expected)
    with pytest.raises(openai.BadRequestError, match="json"):
        create(file=SAMPLE, model="x", response_format="text", include=["logprobs"])


def test_the_asynchronous_client(served: Served) -> None:
    async def ask() -> tuple[list[str], str]:
        options = {"base_url": f"{served.url}/v1", "api_key": "any"}
        async with openai.AsyncOpenAI(**options) as client:  # type: ignore[arg-type]
            create = client.audio.transcriptions.create
            asked = (create(file=SAMPLE, model="whisper-1") for _ in range(3))
            answers = await asyncio.gather(*asked)
            stream = await create(file=SAMPLE, model="whisper-1", stream=True)
            deltas = [e.delta async for e in stream if e.type == "transcript.text.delta"]
        return [answer.text for answer in answers], "".join(deltas)

    assert asyncio.run(ask()) == ([TEXT] * 3, TEXT)


def test_models(client: Client) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["demo"]
    assert client.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError, match="not served"):
        client.models.retrieve("nobody/knows")


@pytest.mark.parametrize("name", ["whisper-1", "gpt-4o-transcribe", "Systran/faster-whisper-base"])
def test_names_that_clients_insist_on_mean_the_loaded_model(client: Client, name: str) -> None:
    answer = client.audio.transcriptions.with_raw_response.create(file=SAMPLE, model=name)
    assert answer.headers["x-whisper-npu-model"] == "demo"


def test_a_model_that_is_not_here_is_not_replaced(client: Client) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.audio.transcriptions.create(file=SAMPLE, model="large-v3")
    assert refused.value.code == "model_not_found"


def test_answers_tell_what_served_them_and_how_long(served: Served) -> None:
    headers = served.post("/v1/audio/transcriptions").headers
    assert headers["x-whisper-npu-device"] == "cpu"
    stages = [part.partition(";")[0] for part in headers["server-timing"].split(", ")]
    assert stages == ["queue", "audio", "vad", "mel", "encode", "decode"]
    assert headers["x-request-id"].startswith("req_")
    assert headers["x-request-id"] != served.get("/v1/models").headers["x-request-id"]


def test_what_a_damaged_file_lacks_is_told() -> None:
    class Damaged(HeldTranscription):
        @property
        def result(self) -> Result:
            return replace(super().result, damage=(Damage(1.0, 2.0, True, "a gap — 1 s"),))

    held = HeldTranscriber(kind=Damaged)
    held.step.release(9)
    with serving(lambda _: held) as served:
        headers = served.post("/v1/audio/transcriptions").headers
    assert headers["x-whisper-npu-warning"].startswith("sound is missing from 00:01.000 to 00:02")


def test_empty_fields_are_absent(served: Served) -> None:
    fields = {"model": "", "language": "", "prompt": "", "temperature": "", "stream": ""}
    answer = served.post("/v1/audio/transcriptions", response_format="", **fields)
    assert answer.json()["text"] == TEXT


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "docx"}, "response_format"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": "7"}, None),
        ({"temperature": "nan"}, None),
        ({"language": "klingon"}, None),
        ({"stream": "maybe"}, "stream"),
        ({"stream": "true", "response_format": "srt"}, "stream"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"timestamp_granularities[]": "letter"}, "timestamp_granularities"),
        ({"chunking_strategy": "whenever"}, "chunking_strategy"),
        ({"chunking_strategy": '{"type": "server_vad", "threshold": "x"}'}, "chunking_strategy"),
        ({"known_speaker_references[]": "data:audio/wav;base64,AAAA"}, "known_speaker_references"),
    ],
)
def test_what_is_wrong_is_said_in_openais_shape(
    served: Served, fields: dict[str, str], param: str | None
) -> None:
    answer = served.post("/v1/audio/transcriptions", **fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_what_is_no_audio_is_refused_before_an_answer_is_streamed(client: Client) -> None:
    with pytest.raises(openai.BadRequestError, match="not audio"):
        client.audio.transcriptions.create(file=b"no audio", model="x", stream=True)


def test_paths_and_methods_that_there_are_not(served: Served) -> None:
    assert served.get("/v1/chat/completions").status_code == 404
    assert served.get("/v1/audio/transcriptions").status_code == 405
    assert served.get("/v1/audio/transcriptions").json()["error"]["type"] == "invalid_request_error"


def test_fields_become_options() -> None:
    held = HeldTranscriber()
    held.step.release(100)
    with serving(lambda _: held) as served:
        served.post(
            "/v1/audio/transcriptions",
            language="pt-BR",
            prompt="Names: Ada",
            temperature="0.25",
            **{"keywords[]": ["Turing", "Hopper"]},
            chunking_strategy=json.dumps(
                {"type": "server_vad", "threshold": 0.6, "silence_duration_ms": 300}
            ),
        )
        served.post(
            "/v1/audio/translations",
            **{"chunking_strategy[type]": "server_vad", "chunking_strategy[prefix_padding_ms]": 50},
        )
    first, second = (one.options for one in held.begun)
    assert (first.task, first.language) == ("transcribe", "pt")
    assert (first.decoding.initial_prompt, first.decoding.temperature) == ("Names: Ada", 0.25)
    assert first.decoding.hotwords == "Turing, Hopper"
    assert (first.vad.threshold, first.vad.min_silence_duration_ms) == (0.6, 300)
    assert first.long_form == "batched"
    assert (second.task, second.vad.speech_pad_ms) == ("translate", 50)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DeviceError("the NPU failed", hint="restart it"), "the NPU failed"),
        (RuntimeError("a bug of ours"), "a fault of the server"),
    ],
)
def test_a_stream_that_fails_ends_with_the_error(error: Exception, words: str) -> None:
    class Failing(HeldTranscription):
        def __iter__(self) -> Iterator[Segment]:
            yield next(super().__iter__())
            raise error

    held = HeldTranscriber(kind=Failing)
    held.step.release()
    with (
        serving(lambda _: held) as served,
        Client(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as client,
    ):
        stream = client.audio.transcriptions.create(file=SAMPLE, model="x", stream=True)
        assert next(stream).type == "transcript.text.delta"
        with pytest.raises(openai.APIError, match=words):
            next(stream)
