"""OpenAI's audio API: the fields of its requests, and its answers.

Fields and shapes are those of openai-python (`src/openai/types/audio`). A field that this module
does not name has no effect.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, NoReturn

from starlette.responses import JSONResponse, PlainTextResponse, Response

from whisper_npu_cli.checkpoints.languages import LANGUAGES, language_code
from whisper_npu_cli.options import TranscribeOptions, VadOptions, WordOptions
from whisper_npu_cli.serve.forms import Form
from whisper_npu_cli.serve.jobs import Job
from whisper_npu_cli.serve.refusals import Refusal
from whisper_npu_cli.serve.work import describe_work
from whisper_npu_cli.transcript import Segment, Transcript
from whisper_npu_cli.writers import make_writers

Task = Literal["transcribe", "translate"]

FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
_STREAMED = ("json", "text", "verbose_json", "diarized_json")  # OpenAI streams no verbose_json
MEDIA_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}
_SPEAKERS = "A,B"  # OpenAI's names for speakers that the request does not name
_SEGMENT_FIELDS = (
    *("id", "seek", "start", "end", "text", "tokens", "temperature"),
    *("avg_logprob", "compression_ratio", "no_speech_prob"),
)
# OpenAI's names of what its voice detection is told
_VAD_FIELDS = {
    "threshold": "threshold",
    "silence_duration_ms": "min_silence_duration_ms",
    "prefix_padding_ms": "speech_pad_ms",
}


class Answer:
    """How a request wants to be answered, over the options `base` of the server.

    Refusal and UsageError for what contradicts itself.
    """

    def __init__(self, form: Form, base: TranscribeOptions, task: Task) -> None:
        self._task = task
        self._format = form.get_choice("response_format", FORMATS)
        self.is_streamed = form.get_flag("stream")
        self._granularities = form.get_list("timestamp_granularities") or ["segment"]
        for one in self._granularities:
            if one not in ("word", "segment"):
                _refuse("timestamp_granularities", f"{one!r}, neither word nor segment")
        if "word" in self._granularities and self._format != "verbose_json":
            _refuse("timestamp_granularities", "word, which needs response_format verbose_json")
        if self.is_streamed and self._format not in _STREAMED:
            _refuse("stream", f"true, which needs response_format {', '.join(_STREAMED)}")
        self._has_logprobs = "logprobs" in form.get_list("include")
        if self._has_logprobs and self._format != "json":
            _refuse("include", "logprobs, which needs response_format json")
        self.options = self._read_options(form, base)

    def _read_options(self, form: Form, base: TranscribeOptions) -> TranscribeOptions:
        decoding = replace(
            base.decoding,
            initial_prompt=form.get_text("prompt") or base.decoding.initial_prompt,
            hotwords=", ".join(form.get_list("keywords")) or base.decoding.hotwords,
            temperature=_or(form.get_number("temperature"), base.decoding.temperature),
        )
        logprobs = self._has_logprobs
        options = replace(base, task=self._task, decoding=decoding, token_logprobs=logprobs)
        if (language := _read_language(form)) is not None:
            options = replace(options, language=language)
        if "word" in self._granularities:
            options = replace(options, words=WordOptions())
        if self._format == "diarized_json":
            names = ",".join(form.get_list("known_speaker_names")) or _SPEAKERS
            options = replace(options, speakers="channels", channel_names=names)
        if form.get_list("known_speaker_references", separator=None):
            _refuse("known_speaker_references", "given, and voices cannot be told apart here")
        return _with_vad(form, options)

    def make(self, job: Job) -> Response:
        """Return the answer of a request that is not streamed."""
        transcript = job.result.transcript
        if self._format == "text":
            return PlainTextResponse(f"{_get_text(transcript)}\n")
        if self._format in MEDIA_TYPES:
            written = make_writers()[self._format](transcript)
            return Response(written, media_type=MEDIA_TYPES[self._format])
        usage = {"type": "duration", "seconds": transcript.duration_s}
        content = {"text": _get_text(transcript), "usage": usage}
        return JSONResponse(content | self._describe(job, transcript))

    def _describe(self, job: Job, transcript: Transcript) -> dict[str, Any]:
        """Return what the JSON of a transcript has beside its text."""
        content: dict[str, Any] = {"task": self._task, "duration": transcript.duration_s}
        if self._format == "diarized_json":
            return content | {"segments": [_describe_speech(s) for s in transcript.segments]}
        pieces = self._describe_pieces(job, transcript.segments)
        if self._format == "json":
            return pieces
        return content | {"language": self._name_language(transcript)} | pieces

    def _describe_pieces(self, job: Job, segments: Sequence[Segment]) -> dict[str, Any]:
        """Return what was asked for of segments, words and tokens, of a delta or of all."""
        content: dict[str, Any] = {}
        if self._has_logprobs:
            content["logprobs"] = _describe_logprobs(job, segments)
        if self._format == "verbose_json" and "segment" in self._granularities:
            content["segments"] = [_describe_segment(segment) for segment in segments]
        if "word" in self._granularities:
            words = [word for segment in segments for word in segment.words or ()]
            content["words"] = [
                {"word": word.word.strip(), "start": word.start, "end": word.end} for word in words
            ]
        return content

    def _name_language(self, transcript: Transcript) -> str:
        """Return the English name of the language that the text is in."""
        return "english" if self._task == "translate" else LANGUAGES.get(transcript.language, "")

    async def stream(self, job: Job) -> AsyncIterator[bytes]:
        """Yield server-sent events. The deltas, one after another, are the text of the last."""
        deltas = Deltas()
        async for segment in job.segments():
            if self._format == "diarized_json":
                yield format_event(**_describe_speech(segment))
            if delta := deltas.add(segment.text):
                pieces = self._describe_pieces(job, [segment])
                yield format_event(type="transcript.text.delta", delta=delta, **pieces)
        text = _get_text(job.result.transcript)
        yield format_event(type="transcript.text.done", text=text, **self._describe_end(job))

    def _describe_end(self, job: Job) -> dict[str, Any]:
        """Return what the last event of a stream has beside its text."""
        transcript = job.result.transcript
        if self._format == "verbose_json":
            return self._describe(job, transcript) | {"whisper_npu": describe_work(job)}
        return self._describe_pieces(job, transcript.segments)


class Deltas:
    """The text of segments in pieces that add up to the text without the space around it."""

    def __init__(self) -> None:
        self._held = ""  # space that is of the text only if more follows
        self._is_begun = False

    def add(self, text: str) -> str:
        """Return what the text grows by."""
        text = self._held + text
        text = text if self._is_begun else text.lstrip()
        delta = text.rstrip()
        self._held = text[len(delta) :]
        self._is_begun |= bool(delta)
        return delta


def describe_error(refusal: Refusal) -> dict[str, Any]:
    """Return the JSON of a refusal."""
    kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
    error = {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}
    return {"error": error}


def describe_models(names: Iterable[str], created_s: int) -> list[dict[str, Any]]:
    """Return the JSON of models."""
    fixed = {"object": "model", "created": created_s, "owned_by": "whisper-npu"}
    return [{"id": name, **fixed} for name in names]


def _get_text(transcript: Transcript) -> str:
    """Return the text without the space before its first word."""
    return transcript.text.strip()


def _describe_segment(segment: Segment) -> dict[str, Any]:
    """Return the JSON of a segment: openai-whisper's, without its words."""
    return {name: getattr(segment, name) for name in _SEGMENT_FIELDS}


def _describe_logprobs(job: Job, segments: Iterable[Segment]) -> list[dict[str, Any]]:
    """Return the log-probabilities of what is text."""
    tokens = [pair for s in segments for pair in zip(s.tokens, s.logprobs or (), strict=True)]
    return [
        {"token": job.tokenizer.decode([token]), "logprob": logprob}
        for token, logprob in tokens
        if token < job.tokenizer.eot
    ]


def _describe_speech(segment: Segment) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{segment.id:03d}",
        "start": segment.start,
        "end": segment.end,
        "speaker": segment.speaker,
        "text": segment.text.strip(),
    }


def _read_language(form: Form) -> str | None:
    """Return the code of `language`, or of the only one of `languages`; of several none is sure."""
    languages = form.get_list("languages")
    language = form.get_text("language") or (languages[0] if len(languages) == 1 else None)
    return None if language is None else language_code(language)


def _with_vad(form: Form, options: TranscribeOptions) -> TranscribeOptions:
    """Return the options with what `chunking_strategy` says of voice detection."""
    strategy = form.get_object("chunking_strategy")
    if strategy is None or strategy == "auto":
        return options
    if isinstance(strategy, str) or strategy.pop("type", None) != "server_vad":
        _refuse("chunking_strategy", "neither auto nor an object of type server_vad")
    kinds = VadOptions()
    values = {}
    for theirs, text in strategy.items():
        if theirs not in _VAD_FIELDS:
            _refuse("chunking_strategy", f"given {theirs}, none of {', '.join(_VAD_FIELDS)}")
        ours = _VAD_FIELDS[theirs]
        try:
            values[ours] = type(getattr(kinds, ours))(text)
        except ValueError:
            _refuse("chunking_strategy", f"given {text!r} for {theirs}, no such number")
    return replace(options, vad=replace(options.vad, **values), long_form="batched")


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def format_event(**content: Any) -> bytes:
    """Return a server-sent event."""
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"


def _refuse(param: str, what: str) -> NoReturn:
    raise Refusal(400, f"{param} is {what}", param=param)
