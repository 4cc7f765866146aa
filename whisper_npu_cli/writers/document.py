"""The JSON document of a run: its dataclasses, and the JSON Schema made from them.

A field with the default None is left out of the JSON when it is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from whisper_npu_cli.options import LongForm
from whisper_npu_cli.timings import StageTiming
from whisper_npu_cli.transcript import Damage, EncodedBy, Result, Segment

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Stage:
    """The time that a stage took; `rtf` and `speed` are relative to the length of the audio."""

    stage: str
    seconds: float
    calls: int
    rtf: float | None
    speed: float | None
    engine: str
    tokens: int | None = None  # number of tokens, of the stage decode only


@dataclass(frozen=True)
class Transcribed:
    """An input with a transcript, whole if `complete`; `error` tells what failed nevertheless."""

    path: str
    complete: bool
    long_form: LongForm
    duration_s: float
    language: str
    language_probs: Mapping[str, float]
    text: str
    segments: Sequence[Segment]
    uncovered: Sequence[tuple[float, float]]
    damage: Sequence[Damage]
    peak_dbfs: float | None
    windows: Sequence[EncodedBy]
    timings: Sequence[Stage]
    error: str | None = None
    hint: str | None = None


@dataclass(frozen=True)
class Failed:
    """An input without a transcript."""

    path: str
    error: str
    hint: str | None = None


@dataclass(frozen=True)
class Skipped:
    """An input that was skipped, because its files were complete."""

    path: str
    complete: Literal[True] = True
    skipped: Literal[True] = True


Entry: TypeAlias = Transcribed | Failed | Skipped


@dataclass(frozen=True)
class Device:
    """The device that computed, why it was chosen, and the failures that `auto` overcame."""

    name: str
    reason: str
    incidents: Sequence[str]


@dataclass(frozen=True)
class Document:
    """A whole run, with the results in the order of the inputs."""

    schema_version: int
    model: str
    device: Device | None  # None where no engine was loaded
    load_s: float | None  # seconds to load the model and the engines
    versions: Mapping[str, str]
    results: Sequence[Entry]


def describe_result(path: str, result: Result) -> Transcribed:
    """Return the entry of a transcribed input."""
    transcript = result.transcript
    return Transcribed(
        path=path,
        complete=result.is_complete and not result.has_losses,
        long_form=result.long_form,
        duration_s=transcript.duration_s,
        language=transcript.language,
        language_probs=transcript.language_probs,
        text=transcript.text,
        segments=transcript.segments,
        uncovered=result.uncovered,
        damage=result.damage,
        peak_dbfs=result.peak_dbfs,
        windows=result.windows,
        timings=[_describe_stage(row) for row in result.timings.rows],
    )


def is_complete(entry: Entry) -> bool:
    """Return whether the transcript of an input is whole and its files are written."""
    return not isinstance(entry, Failed) and entry.complete and not getattr(entry, "error", None)


def _describe_stage(row: StageTiming) -> Stage:
    tokens = row.tokens if row.stage == "decode" else None
    return Stage(row.stage, row.seconds, row.calls, row.rtf, row.speed, row.engine, tokens)


def to_plain(value: Any) -> Any:
    """Convert dataclasses, sequences and mappings to values that `json` writes."""
    if is_dataclass(value):
        named = {field.name: (field, getattr(value, field.name)) for field in fields(value)}
        return {
            name: to_plain(content)
            for name, (field, content) in named.items()
            if content is not None or field.default is not None
        }
    if isinstance(value, Mapping):
        return {key: to_plain(content) for key, content in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_plain(item) for item in value]
    return value


def make_json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a document."""
    definitions: dict[str, Any] = {}
    root = _describe_type(Document, definitions)
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **root, "$defs": definitions}


_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def _describe_type(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; dataclasses are added to `definitions`."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind in _SIMPLE:
        return {"type": _SIMPLE[kind]}
    if is_dataclass(kind):
        return _describe_dataclass(kind, definitions)
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in (Union, UnionType):
        return {"anyOf": [_describe_type(part, definitions) for part in parts]}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _describe_type(parts[1], definitions)}
    array: dict[str, Any] = {"type": "array", "items": _describe_type(parts[0], definitions)}
    if origin is tuple and Ellipsis not in parts:  # whose items all have one type here
        array |= {"minItems": len(parts), "maxItems": len(parts)}
    return array


def _describe_dataclass(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # stands for it in fields of its own type
        kinds = get_type_hints(kind)
        optional = {field.name for field in fields(kind) if field.default is None}
        properties = {name: _describe_type(kinds[name], definitions) for name in kinds}
        definitions[kind.__name__] = {
            "description": kind.__doc__,
            "type": "object",
            "properties": properties,
            "required": [name for name in kinds if name not in optional],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{kind.__name__}"}
