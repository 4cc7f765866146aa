"""Dataclasses of options: fields that carry help, unit and bounds, checked when a value is made.

Knows no option: those are in `options.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import inf
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from whisper_npu_cli.errors import UsageError

_Self = TypeVar("_Self", bound="Options")


@dataclass(frozen=True)
class Bounds:
    """What a number may be: finite, from `low` to `high`; `is_open` leaves the ends out."""

    low: float
    high: float = inf
    is_open: bool = False

    def __contains__(self, value: float) -> bool:
        is_inside = self.low < value < self.high if self.is_open else self.low <= value <= self.high
        return is_inside and value < inf

    def __str__(self) -> str:
        if self.high == inf:
            return f"above {self.low:g}" if self.is_open else f"at least {self.low:g}"
        ends = f"{self.low:g} {'and' if self.is_open else 'to'} {self.high:g}"
        return f"between {ends}" if self.is_open else f"from {ends}"


@dataclass(frozen=True)
class About:
    """What is said of an option, and how the command line spells it."""

    help: str = ""
    unit: str = ""
    bounds: Bounds | None = None
    group: str = ""  # the heading in the command's help
    flags: tuple[str, ...] = ()  # where the field's name is not the option's
    metavar: str | None = None  # what stands for the value in the help
    prefix: str = ""  # of the options of a nested field

    def flag(self, name: str) -> str:
        """Return the option of the field `name` as a person types it."""
        return self.flags[0] if self.flags else f"--{name.replace('_', '-')}"


def option(default: Any, help: str, *, group: str = "", **about: Any) -> Any:
    """Return the field of an option; `about` are fields of `About`."""
    return field(default=default, metadata={"about": About(help, group=group, **about)})


def about(named: Any) -> About:
    """Return what is said of a dataclass field."""
    said: About = named.metadata.get("about", About())
    return said


@dataclass(frozen=True)
class Options:
    """Checked values: UsageError for a wrong type, a value out of bounds, or a contradiction."""

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self))
        for named in fields(self):
            check_value(
                named.name, getattr(self, named.name), kinds[named.name], about(named).bounds
            )
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        """Raise UsageError for what several fields say together; most options have nothing so."""

    def to_dict(self) -> dict[str, Any]:
        """Return all values, ready for JSON."""
        return asdict(self, dict_factory=lambda items: {key: _plain(v) for key, v in items})

    @classmethod
    def from_dict(cls: type[_Self], content: Mapping[str, Any]) -> _Self:
        """Return the options of `to_dict`; what is left out has its default.

        UsageError for a name that is no field, and whatever the values are refused for.
        """
        kinds = get_type_hints(cls)
        if unknown := sorted(content.keys() - kinds.keys()):
            raise UsageError(f"{cls.__name__} has no option {unknown[0]!r}")
        return cls(**{name: _restored(value, kinds[name]) for name, value in content.items()})


def is_options(kind: Any) -> bool:
    """Return whether a type is a group of options."""
    return isinstance(kind, type) and issubclass(kind, Options)


def strip_none(kind: Any) -> Any:
    """Return the type `X` of `X | None`; any other as it is."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    (only,) = (one for one in get_args(kind) if one is not type(None))
    return only


def check_value(name: str, value: Any, kind: Any, bounds: Bounds | None) -> None:
    """Raise UsageError unless a value is of its kind and within its bounds."""
    words, inner = _describe(name), strip_none(kind)
    if value is None and inner is not kind:
        return
    if not _is_of(value, inner):
        if get_origin(inner) is Literal:
            choices = ", ".join(get_args(inner))
            raise UsageError(f"unknown {words} {value!r}", hint=f"one of {choices}")
        raise UsageError(f"the {words} must be {_described(inner)}, not {value!r}")
    if bounds is not None and value not in bounds:
        raise UsageError(f"the {words} must be {bounds}, not {value}")


def _describe(name: str) -> str:
    """Return what a message calls a field: beam size, number of threads."""
    return re.sub(r"^n ", "number of ", name.replace("_", " "))


def _is_of(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        item_kind = get_args(kind)[0]
        return isinstance(value, tuple) and all(_is_of(item, item_kind) for item in value)
    if kind is float:
        kind = (int, float)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _described(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return "a tuple of numbers"
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    return names.get(kind, f"a {kind.__name__}")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def _restored(value: Any, kind: Any) -> Any:
    kind = strip_none(kind)
    if is_options(kind) and isinstance(value, Mapping):
        return kind.from_dict(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value
