"""Wyoming as its own library speaks it, and as nothing should: malformed, cut off, silent."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import socket
import sys
import wave
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop, wav_to_chunks
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.info import AsrProgram, Describe, Info

from tests.support.serving import SAMPLE, TEXT, HeldTranscriber, Served, serving, wait_until
from whisper_npu_cli.serve import wyoming
from whisper_npu_cli.serve.recording import Recording
from whisper_npu_cli.serve.settings import ServeOptions

T = TypeVar("T")
SECOND = AudioChunk(16_000, 2, 1, bytes(32_000))


@asynccontextmanager
async def connect(served: Served) -> AsyncIterator[AsyncTcpClient]:
    async with AsyncTcpClient("127.0.0.1", served.wyoming_port) as client:
        yield client


async def write(client: AsyncTcpClient, *events: Eventable) -> None:
    for event in events:
        await client.write_event(event.event())


def list_events(path: Any = SAMPLE, **asked: Any) -> list[Eventable]:
    """What Home Assistant sends of a recording."""
    with wave.open(str(path)) as file:
        audio = list(wav_to_chunks(file, 1024, start_event=True, stop_event=True))
    return [Transcribe(**asked), *audio]


async def read_until(client: AsyncTcpClient, *types: type[Eventable]) -> list[Event]:
    """Return what comes, up to an event of these types or the end."""
    events = list[Event]()
    while (event := await asyncio.wait_for(client.read_event(), 60)) is not None:
        events.append(event)
        if any(type_.is_type(event.type) for type_ in types):
            break
    return events


async def exchange(served: Served, *events: Eventable) -> list[Event]:
    async with connect(served) as client:
        await write(client, *events)
        return await read_until(client, TranscriptStop, Error)


def find_text(events: list[Event]) -> str:
    (text,) = (Transcript.from_event(e).text for e in events if Transcript.is_type(e.type))
    return text


def run(work: Awaitable[T]) -> T:
    async def wait() -> T:
        return await work

    return asyncio.run(wait())


def test_a_transcript_streamed_and_whole(served: Served) -> None:
    events = run(exchange(served, *list_events(language="en")))
    start, *chunks, whole, stop = events
    assert TranscriptStart.from_event(start).language == "en"
    assert TranscriptStop.is_type(stop.type)
    texts = [TranscriptChunk.from_event(event).text for event in chunks]
    assert len(texts) > 1
    assert "".join(texts) == TEXT
    assert Transcript.from_event(whole) == Transcript(TEXT, language="en")


def test_the_text_is_that_of_http(served: Served) -> None:
    answer = served.post("/v1/audio/transcriptions").json()["text"]
    assert find_text(run(exchange(served, *list_events(language="en-US")))) == answer


def test_info(served: Served) -> None:
    async def ask() -> Info:
        async with connect(served) as client:
            await write(client, Describe())
            (event,) = await read_until(client, Info)
            return Info.from_event(event)

    (program,) = run(ask()).asr
    assert isinstance(program, AsrProgram)
    assert program.supports_transcript_streaming
    assert program.models[0].name == "demo"
    assert program.models[0].installed
    assert "en" in program.models[0].languages


def test_info_while_all_threads_decode(narrow: Served, held: HeldTranscriber) -> None:
    async def ask() -> None:
        async with connect(narrow) as speaker, connect(narrow) as other:
            await write(speaker, *list_events())
            await asyncio.to_thread(wait_until, lambda: len(held.begun) == 1)
            for client in (other, speaker):  # who is being answered may ask too
                await write(client, Describe())
                events = await read_until(client, Info)
                assert Info.is_type(events[-1].type)
            held.step.release(3)
            assert find_text(await read_until(speaker, TranscriptStop)) == "one two three"

    run(ask())


def test_chunks_come_as_they_are_decided(narrow: Served, held: HeldTranscriber) -> None:
    async def ask() -> None:
        async with connect(narrow) as client:
            await write(client, *list_events())
            held.step.release()
            events = await read_until(client, TranscriptChunk)
            assert TranscriptChunk.from_event(events[-1]).text == "one"
            held.step.release(2)
            assert find_text(await read_until(client, TranscriptStop)) == "one two three"

    run(ask())


def test_a_fault_is_told_where_no_log_can_be(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Recording, "add", fail)
        patched.setattr(sys.stderr, "write", fail)
        (told,) = run(exchange(served, *list_events()))
    assert Error.from_event(told).code == "500"
    assert find_text(run(exchange(served, *list_events(language="en")))) == TEXT


def test_several_clients_at_once(served: Served) -> None:
    async def ask() -> None:
        asked = [exchange(served, *list_events(language="en")) for _ in range(6)]
        assert {find_text(events) for events in await asyncio.gather(*asked)} == {TEXT}

    run(ask())


def test_one_connection_may_be_used_again(served: Served) -> None:
    async def ask() -> None:
        async with connect(served) as client:
            await write(client, *list_events(language="en"), *list_events(language="en"))
            for _ in range(2):
                assert find_text(await read_until(client, TranscriptStop)) == TEXT

    run(ask())


@pytest.mark.parametrize("events", [[AudioStop()], [AudioStart(16_000, 2, 1), AudioStop()]])
def test_no_audio_is_no_text(served: Served, events: list[Eventable]) -> None:
    assert find_text(run(exchange(served, *events))) == ""


@pytest.mark.parametrize(("rate", "width", "channels"), [(48_000, 4, 2), (22_050, 3, 1)])
def test_other_pcm(served: Served, rate: int, width: int, channels: int) -> None:
    """The sample, spoken at another rate, in other numbers, on more channels."""
    with wave.open(str(SAMPLE)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        seconds = samples.size / file.getframerate()
    n = round(seconds * rate)
    samples = np.interp(np.arange(n) / n, np.arange(samples.size) / samples.size, samples)
    wide = (np.repeat(samples, channels) * 2.0 ** (8 * width - 1)).astype("<i4")
    pcm = wide.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    format_ = (rate, width, channels)
    pieces = [AudioChunk(*format_, pcm[i : i + 9999]) for i in range(0, len(pcm), 9999)]
    events = run(exchange(served, AudioStart(*format_), *pieces, AudioStop()))
    assert find_text(events) == TEXT


def test_names_and_terms_are_hotwords(narrow: Served, held: HeldTranscriber) -> None:
    held.step.release(3)
    asked = {"transcript_names": ["Ada"], "transcript_terms": ["punch card"]}
    run(exchange(narrow, *list_events(**asked)))
    assert held.begun[0].options.decoding.hotwords == "Ada, punch card"


def read_error(events: list[Event]) -> str:
    error = Error.from_event(events[-1])
    return f"{error.code} {error.text}"


def test_what_is_wrong_is_said(served: Served) -> None:
    errors = [
        run(exchange(served, *list_events(language="klingon"))),
        run(exchange(served, *list_events(name="large-v3"))),
        run(exchange(served, *list_events(language=7))),
        run(exchange(served, AudioStart(16_000, 1, 1))),
        run(exchange(served, AudioStart(16_000, 2, 1), AudioChunk(8_000, 2, 1, bytes(8)))),
    ]
    messages = [read_error(one) for one in errors]
    assert [message[:3] for message in messages] == ["400", "404", "400", "400", "400"]
    assert "klingon" in messages[0]
    assert "width" in messages[3]


def test_limits_of_bytes_and_seconds() -> None:
    events = [AudioStart(16_000, 2, 1), *[SECOND] * 4, AudioStop()]
    with serving(options=ServeOptions(max_mb=0.1)) as served:
        assert read_error(run(exchange(served, *events))).startswith("413")
    with serving(options=ServeOptions(max_hours=0.001)) as served:
        assert read_error(run(exchange(served, *events))).startswith("413")


def test_who_finds_no_place_is_told(narrow: Served) -> None:
    async def ask() -> None:
        jobs = narrow.server.service.jobs
        async with connect(narrow) as first, connect(narrow) as second:
            for i, client in enumerate((first, second), 1):
                await write(client, *list_events())
                await asyncio.to_thread(wait_until, lambda i=i: jobs.n_open == i)
            assert read_error(await exchange(narrow, *list_events())).startswith("503")

    run(ask())


def test_a_client_that_goes_ends_its_work(narrow: Served, held: HeldTranscriber) -> None:
    async def ask() -> None:
        async with connect(narrow) as client:
            await write(client, *list_events())
            await asyncio.to_thread(wait_until, lambda: len(held.begun) == 1)

    run(ask())
    wait_until(lambda: held.begun[0].is_stopped)
    held.step.release()
    wait_until(lambda: narrow.server.service.jobs.n_open == 0)
    wait_until(lambda: not narrow.server.server_state.connections)


def test_a_client_that_falls_silent_is_given_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wyoming, "SILENCE_S", 0.05)
    events = run(exchange(served, AudioStart(16_000, 2, 1), SECOND))
    assert read_error(events).startswith("408")


def test_the_end_lets_what_is_being_decoded_finish(held: HeldTranscriber) -> None:
    with serving(lambda _: held, ServeOptions(parallel=1)) as served:
        state, port = served.server.server_state, served.wyoming_port

        async def ask() -> None:
            async with connect(served) as working, connect(served) as waiting, connect(served):
                await write(working, *list_events())
                await asyncio.to_thread(wait_until, lambda: len(held.begun) == 1)
                await write(waiting, *list_events())
                jobs = served.server.service.jobs
                await asyncio.to_thread(wait_until, lambda: jobs.n_open == 2)
                assert len(state.connections) == 3
                served.server.should_exit = True
                assert read_error(await read_until(waiting, Error)).startswith("503")
                await asyncio.to_thread(wait_until, lambda: len(state.connections) == 1)
                held.step.release(3)
                assert find_text(await read_until(working, TranscriptStop)) == "one two three"

        run(ask())
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_counts_and_log(held: HeldTranscriber, capfd: pytest.CaptureFixture[str]) -> None:
    held.step.release(100)
    with serving(lambda _: held) as served:
        run(exchange(served, *list_events()))
        run(exchange(served, *list_events(language="klingon")))
        metrics = served.get("/metrics").text
    assert 'whisper_npu_requests_total{path="wyoming",status="200"} 1.0' in metrics
    assert 'whisper_npu_requests_total{path="wyoming",status="400"} 1.0' in metrics
    assert "whisper_npu_audio_seconds_total 1.0" in metrics
    printed = capfd.readouterr().err
    lines = [json.loads(line) for line in printed.splitlines()]
    good, bad = (line for line in lines if line["event"] == "request")
    assert (good["path"], good["status"], good["audio_s"]) == ("wyoming", 200, 1.0)
    assert bad["status"] == 400
    assert "klingon" not in printed
    assert "three" not in printed


def send(served: Served, data: bytes) -> bytes:
    """Send bytes and no more, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", served.wyoming_port), timeout=20) as connection:
        received = io.BytesIO()
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received.write(piece)
        except ConnectionError:
            pass  # it was closed with bytes of ours unread
    return received.getvalue()


MALFORMED = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x00\xff\n",
    b"[]\n",
    b"{}\n",
    b'{"type": 3}\n',
    b'{"type": "describe", "data": 7}\n',
    b'{"type": "audio-start"}\n',
    b'{"type": "audio-chunk", "payload_length": 99999999999999}\n',
    b'{"type": "audio-chunk", "payload_length": -1}\n',
    b'{"type": "audio-chunk", "data_length": "many"}\n',
    b'{"type": "transcribe", "data_length": 5}\nhello',
    b"[" * 60_000 + b"\n",
    b"x" * 200_000,
]


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_event_is_an_error_and_the_end(served: Served, data: bytes) -> None:
    answer = send(served, data)
    assert not answer or b'"error"' in answer
    assert served.get("/health").status_code == 200
    wait_until(lambda: not served.server.server_state.connections)


def encode(*events: Event) -> bytes:
    pieces = []
    for event in events:
        data, payload = json.dumps(event.data).encode(), event.payload or b""
        lengths = {"data_length": len(data), "payload_length": len(payload)}
        pieces += [json.dumps({"type": event.type, **lengths}).encode(), b"\n", data, payload]
    return b"".join(pieces)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_events_leave_nothing(
    capfd: pytest.CaptureFixture[str], quick: Served, data: Any
) -> None:
    events = [Transcribe(language="en"), AudioStart(16_000, 2, 1), SECOND, AudioStop(), Describe()]
    damaged = bytearray(encode(*(event.event() for event in events)))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, 400))
        stop = data.draw(st.integers(start, start + 20))
        damaged[start:stop] = data.draw(st.binary(max_size=20))
    send(quick, bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    wait_until(lambda: not quick.server.server_state.connections)
    assert quick.server.service.jobs.n_open == 0
    assert "Traceback" not in capfd.readouterr().err


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES |= st.lists(VALUES, max_size=2) | st.dictionaries(st.text(max_size=3), VALUES, max_size=2)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.dictionaries(
        st.sampled_from(["name", "language", "transcript_names", "transcript_terms"]), VALUES
    ),
    format_=st.dictionaries(st.sampled_from(["rate", "width", "channels"]), VALUES),
)
def test_odd_values_are_no_fault_of_the_server(
    capfd: pytest.CaptureFixture[str], quick: Served, asked: dict[str, Any], format_: dict[str, Any]
) -> None:
    data = {"rate": 16_000, "width": 2, "channels": 1, **format_}
    events = [
        Event("transcribe", asked),
        Event("audio-start", data),
        Event("audio-chunk", data, bytes(3200)),
    ]

    async def ask() -> list[Event]:
        async with connect(quick) as client:
            assert client._writer is not None
            client._writer.write(encode(*events, AudioStop().event()))
            return await read_until(client, TranscriptStop, Error)

    (last,) = run(ask())[-1:]
    assert TranscriptStop.is_type(last.type) or Error.from_event(last).code in ("400", "404")
    assert "Traceback" not in capfd.readouterr().err


@pytest.fixture(scope="module")
def quick() -> Iterator[Served]:
    held = HeldTranscriber((TEXT,))
    held.step.release(100_000)
    with serving(lambda _: held) as one:
        yield one
