"""The OpenAPI document of a server, made by reading a form that notes what is read of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whisper_npu_cli import __version__
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.serve import openai, whispercpp
from whisper_npu_cli.serve.forms import Form

_Schema = dict[str, Any]
_FILE: _Schema = {"type": "string", "format": "binary", "description": "audio in any format"}
_TEXT: _Schema = {"type": "string"}
_JSON, _EVENTS = "application/json", "text/event-stream"
_REFUSALS = {
    400: "A field or the file is wrong.",
    401: "The API key is missing or wrong.",
    404: "The model, or what the path names, is not here.",
    408: "The rest of the request did not arrive.",
    413: "The file is too large, or the audio too long.",
    500: "A fault of the server.",
    503: "The model is loading, or the queue is full: Retry-After tells when to come again.",
}
_NAMED_ERROR: _Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                **{"message": _TEXT, "type": _TEXT},
                **{"param": {"type": ["string", "null"]}, "code": {"type": ["string", "null"]}},
            },
        }
    },
}
_PLAIN_ERROR: _Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"anyOf": [_TEXT, _NAMED_ERROR["properties"]["error"]]}},
}


class NotingForm(Form):
    """A form that notes the schema of each field that is read; it holds `items`."""

    def __init__(self, *items: tuple[str, str]) -> None:
        super().__init__(items)
        self.fields: dict[str, _Schema] = {}

    def get_text(self, name: str) -> str | None:
        """Note a text, unless the caller has noted more of it."""
        self.fields.setdefault(name, _TEXT)
        return super().get_text(name)

    def get_choice(self, name: str, choices: Sequence[str]) -> str:
        """Note a choice."""
        self.fields[name] = {"type": "string", "enum": list(choices), "default": choices[0]}
        return super().get_choice(name, choices)

    def get_flag(self, name: str) -> bool:
        """Note a flag."""
        self.fields[name] = {"type": "boolean", "default": False}
        return super().get_flag(name)

    def get_number(self, name: str) -> float | None:
        """Note a number."""
        self.fields.setdefault(name, {"type": "number"})
        return super().get_number(name)

    def get_count(self, name: str) -> int | None:
        """Note a whole number."""
        self.fields[name] = {"type": "integer"}
        return super().get_count(name)

    def get_list(self, name: str, *, separator: str | None = ",") -> list[str]:
        """Note an array."""
        self.fields[f"{name}[]"] = {"type": "array", "items": _TEXT}
        return super().get_list(name, separator=separator)


def describe_api(base: TranscribeOptions) -> dict[str, Any]:
    """Return the document."""
    form = NotingForm(("response_format", "diarized_json"))  # which reads the most fields
    openai.Answer(form, base, "transcribe")
    inference = NotingForm()
    whispercpp.Inference(inference, base)
    answers = (_JSON, _EVENTS, *openai.MEDIA_TYPES.values())
    posts = {
        "/v1/audio/transcriptions": (form.fields, answers),
        "/v1/audio/translations": (form.fields, answers),
        "/inference": (inference.fields, (_JSON, "text/html", *openai.MEDIA_TYPES.values())),
    }
    paths = {
        path: {"post": _describe_post({"file": _FILE, "model": _TEXT, **fields}, ["file"], kinds)}
        for path, (fields, kinds) in posts.items()
    }
    paths["/load"] = {"post": _describe_post({"model": _TEXT}, ["model"], ("text/plain",))}
    for path, kind in {
        "/v1/models": _JSON,
        "/health": _JSON,
        "/metrics": "text/plain",
        "/openapi.json": _JSON,
    }.items():
        paths[path] = {"get": {"responses": _describe_answers((kind,))}}
    paths["/health"]["get"] |= {"security": []}
    paths["/health"]["get"]["responses"]["503"] = {"description": "The model is loading."}
    name = {"name": "name", "in": "path", "required": True, "schema": _TEXT}
    answered = {"parameters": [name], "responses": _describe_answers((_JSON,))}
    paths["/v1/models/{name}"] = {"get": answered}
    for path in whispercpp.PATHS:
        _replace_error(paths[path]["post"]["responses"])
    return {
        "openapi": "3.1.0",
        "info": {"title": "whisper-npu serve", "version": __version__},
        "security": [{"key": []}],
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "paths": paths,
    }


def _describe_post(fields: _Schema, required: list[str], kinds: Sequence[str]) -> _Schema:
    schema = {"type": "object", "required": required, "properties": fields}
    body = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    return {"requestBody": body, "responses": _describe_answers(kinds)}


def _describe_answers(kinds: Sequence[str]) -> _Schema:
    content: _Schema = {kind: {} for kind in kinds}
    if _JSON in content:
        content[_JSON] = {"schema": {"type": "object"}}
    answers: _Schema = {"200": {"description": "The answer.", "content": content}}
    for status, text in _REFUSALS.items():
        refused = {_JSON: {"schema": _NAMED_ERROR}}
        answers[str(status)] = {"description": text, "content": refused}
    return answers


def _replace_error(answers: _Schema) -> None:
    """Let the answers have whisper.cpp's errors; a wrong key has OpenAI's on every path."""
    for status, answer in answers.items():
        if status != "200":
            answer["content"] = {_JSON: {"schema": _PLAIN_ERROR}}
