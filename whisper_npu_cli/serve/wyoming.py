"""The Wyoming protocol, which Home Assistant speaks: events over TCP.

An event is a line of JSON, `data_length` bytes of more JSON, and `payload_length` bytes of PCM.
What lies between `audio-start` and `audio-stop` is transcribed like a file of HTTP, in the same
queue. The library's own reader is not used: it takes lengths of any size, and ends at any damage.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any

from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_write_events
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info

from whisper_npu_cli import __version__
from whisper_npu_cli.checkpoints.languages import LANGUAGES, language_code
from whisper_npu_cli.errors import WhisperNpuError
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.serve.forms import SILENCE_S, parse_json
from whisper_npu_cli.serve.frontdesk import LINGER_S, make_id
from whisper_npu_cli.serve.jobs import Order
from whisper_npu_cli.serve.log import log, log_fault
from whisper_npu_cli.serve.openai import Deltas
from whisper_npu_cli.serve.recording import Recording
from whisper_npu_cli.serve.refusals import CLIENT_GONE, FAULT, ClientGone, Refusal, to_refusal
from whisper_npu_cli.serve.service import Service

PATH = "wyoming"  # in the counts and the log, where requests of HTTP have their path
_MAX_DATA_BYTES = 1 << 20
_MAX_PAYLOAD_BYTES = 1 << 24  # Home Assistant sends 2 KB, others a whole file of minutes
_WHISPER = Attribution("OpenAI", "https://github.com/openai/whisper")


async def serve_client(
    service: Service, open_: set[Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve a client until either side ends; meanwhile it is one of the connections `open_`."""
    client = Client(service, reader, writer)
    open_.add(client)
    try:
        await client.serve()
    finally:
        open_.discard(client)


class Client:
    """A client. What it sends is read while it is answered: it may ask more, or go."""

    def __init__(
        self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._service = service
        self._reader, self._writer = reader, writer
        self._asked = Transcribe()
        self._recording: Recording | None = None
        self._answering: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self._is_ending = False

    async def serve(self) -> None:
        """Answer until either side ends."""
        try:
            while (event := await self._read()) is not None:
                await self._handle(event)
        except (ConnectionError, EOFError):
            pass
        except Exception as error:
            self._record(await self._refuse(error))
            await self._discard()
        finally:
            self._gone.set()
            if self._answering is not None:
                await asyncio.wait([self._answering])
            if self._recording is not None:
                self._recording.close()
            self._writer.close()

    def shutdown(self) -> None:
        """End once what is asked for is answered."""
        self._is_ending = True
        if self._answering is None or self._answering.done():
            self._writer.close()

    async def _read(self) -> Event | None:
        """Return the next event; one that is awaited within audio has to come in time."""
        limit_s = None if self._recording is None else SILENCE_S
        try:
            return await asyncio.wait_for(read_event(self._reader), limit_s)
        except asyncio.TimeoutError as error:
            raise Refusal(408, f"nothing arrived for {SILENCE_S:g} s") from error

    async def _handle(self, event: Event) -> None:
        if Describe.is_type(event.type):
            await self._write(await asyncio.to_thread(describe, self._service))
        elif Transcribe.is_type(event.type):
            self._asked = Transcribe.from_event(event)
        elif AudioStart.is_type(event.type):
            self._begin(event)
        elif AudioChunk.is_type(event.type):
            begun = self._recording or self._begin(event)  # some clients do not begin
            begun.add(event.data, event.payload or b"")
        elif AudioStop.is_type(event.type):
            if self._answering is not None:
                await self._answering
            asked, recording = self._asked, self._recording
            self._asked, self._recording = Transcribe(), None
            self._answering = asyncio.create_task(self._answer(asked, recording))

    def _begin(self, event: Event) -> Recording:
        if self._recording is not None:
            self._recording.close()
        self._recording = Recording(event.data, self._service.options.max_bytes)
        return self._recording

    async def _answer(self, asked: Transcribe, recording: Recording | None) -> None:
        """Send a transcript, or why there is none; count it, and log it."""
        start, content = perf_counter(), dict[str, Any]()
        try:
            if recording is None or recording.is_empty:
                await self._write(TranscriptStart(), Transcript(""), TranscriptStop())
            else:
                content = await self._transcribe(asked, recording)
            status = 200
        except (ClientGone, ConnectionError):
            status = CLIENT_GONE
        except Exception as error:
            status = await self._refuse(error)
        finally:
            if recording is not None:
                recording.close()
        self._record(status, perf_counter() - start, **content)
        if self._is_ending or status != 200:
            self._writer.close()

    async def _transcribe(self, asked: Transcribe, recording: Recording) -> dict[str, Any]:
        """Send the text as it is decided, and all of it; return what the log tells."""
        service = self._service
        options = read_options(asked, service.base)
        upload = recording.finish(service.options.max_s)
        order = Order(_read_text(asked.name) or service.models.default, upload, options)
        job = service.jobs.submit(order, self._gone.wait)
        info = await job.begin()
        await self._write(TranscriptStart(language=info.language))
        deltas = Deltas()
        async for segment in job.segments():
            if delta := deltas.add(segment.text):
                await self._write(TranscriptChunk(delta))
        content = service.count(job)
        transcript = job.result.transcript
        whole = Transcript(transcript.text.strip(), language=transcript.language)
        await self._write(whole, TranscriptStop())
        return content

    async def _refuse(self, error: Exception) -> int:
        """Say what is wrong, and return the status of it."""
        if isinstance(error, Refusal | WhisperNpuError):
            refusal = to_refusal(error)
        else:
            log_fault(error)
            refusal = FAULT
        with suppress(ConnectionError):
            await self._write(Error(refusal.message, str(refusal.status)))
        return refusal.status

    async def _discard(self) -> None:
        """End, and read on for a while: with bytes unread the error would be lost."""
        with suppress(OSError, asyncio.TimeoutError):
            self._writer.write_eof()
            await asyncio.wait_for(self._read_on(), LINGER_S)

    async def _read_on(self) -> None:
        while await self._reader.read(1 << 16):
            pass

    def _record(self, status: int, seconds: float = 0.0, **content: Any) -> None:
        """Count a request, and log it."""
        self._service.metrics.add_request(PATH, status, seconds)
        seconds = round(seconds, 3)
        log("request", id=make_id(), path=PATH, status=status, seconds=seconds, **content)

    async def _write(self, *events: Eventable) -> None:
        await async_write_events([event.event() for event in events], self._writer)


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """Return the next event, None at the end; Refusal for what is none, EOFError within one."""
    try:
        line = await reader.readline()
    except ValueError as error:
        raise Refusal(400, "a line without an end is no event of Wyoming") from error
    if not line:
        return None
    head = _parse_object(line)
    type_ = head.get("type")
    if not isinstance(type_, str):
        raise Refusal(400, "an event of Wyoming has a type")
    data = head.get("data") or {}
    if n_bytes := _take_length(head, "data_length", _MAX_DATA_BYTES):
        data = data | _parse_object(await reader.readexactly(n_bytes))
    payload = None
    if n_bytes := _take_length(head, "payload_length", _MAX_PAYLOAD_BYTES):
        payload = await reader.readexactly(n_bytes)
    return Event(type_, data, payload)


def _parse_object(encoded: bytes) -> dict[str, Any]:
    """Return an object of JSON, whose `data` is one too."""
    content = parse_json(encoded.decode("utf-8", "replace"))
    if not isinstance(content, dict) or not isinstance(content.get("data") or {}, dict):
        raise Refusal(400, "what is no object of JSON is no event of Wyoming")
    return content


def _take_length(head: dict[str, Any], name: str, limit: int) -> int:
    n_bytes = head.get(name) or 0
    if type(n_bytes) is not int or not 0 <= n_bytes <= limit:
        raise Refusal(400, f"{name} is {n_bytes!r}, not from 0 to {limit}")
    return n_bytes


def read_options(asked: Transcribe, base: TranscribeOptions) -> TranscribeOptions:
    """Return how a client wants its audio transcribed, over the options of the server.

    Refusal and UsageError for what is wrong.
    """
    if language := _read_text(asked.language):
        base = replace(base, language=language_code(language))
    names = [*_read_texts(asked.transcript_names), *_read_texts(asked.transcript_terms)]
    if hotwords := ", ".join(names):
        base = replace(base, decoding=replace(base.decoding, hotwords=hotwords))
    return base


def _read_text(value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and value.isprintable()):
        raise Refusal(400, f"{value!r} is no text")
    return value


def _read_texts(value: Any) -> list[str]:
    if value is not None and not isinstance(value, list):
        raise Refusal(400, f"{value!r} is no list")
    return [text for text in map(_read_text, value or ()) if text]


def describe(service: Service) -> Info:
    """Return what is served; it needs no engine, so that a busy one does not delay it."""
    loaded = service.models.list_loaded()
    models = []
    for name in service.models.list_names():
        tokenizer = loaded[name].tokenizer if name in loaded else None
        languages = list(tokenizer.language_ids if tokenizer else LANGUAGES)
        if name.endswith(".en") or (tokenizer and not tokenizer.is_multilingual):
            languages = ["en"]
        models.append(AsrModel(name, _WHISPER, True, f"Whisper {name}", None, languages))
    return Info(
        asr=[
            AsrProgram(
                name="whisper-npu",
                attribution=_WHISPER,
                installed=True,
                description="Whisper on this machine",
                version=__version__,
                models=models,
                supports_transcript_streaming=True,
            )
        ]
    )
