"""Options as parameters of a command: a group of options becomes a parameter for each field.

    @from_fields
    def bench(engine: Annotated[EngineOptions, Only("precision", "n_threads")]) -> None: ...

is a command with `--precision` and `--threads`. Its function gets a checked `EngineOptions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from inspect import Parameter, signature
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from whisper_npu_cli.cli.completion import COMPLETIONS
from whisper_npu_cli.cli.config import describe_source
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.fields import About, Options, about, check_value, is_options, strip_none

_Group = TypeVar("_Group", bound=Options)


class Only:
    """The fields of a group that a command takes; the others keep their defaults."""

    def __init__(self, *names: str) -> None:
        self.names = names


@dataclass(frozen=True)
class Leaf:
    """One option: a field, or the switch of an optional group."""

    name: str  # name of the command's parameter
    kind: Any
    default: Any
    about: About

    @property
    def flag(self) -> str:
        """The option as a person types it."""
        return self.about.flag(self.name)

    def make_parameter(self) -> Parameter:
        """Return the parameter from which Typer makes the option."""
        said, (reader, metavar) = self.about, _READERS.get(self.kind, (None, None))
        names = said.flags or (self.flag,)
        if self.kind is bool:  # whatever is its default here, or that of a user's file
            names = (f"{self.flag}/--no-{self.flag[2:]}", *names[1:])
        option = typer.Option(
            *names,
            help=_write_help(said),
            parser=reader,
            metavar=said.metavar or metavar,
            callback=self._check,
            autocompletion=COMPLETIONS.get(self.name),
            rich_help_panel=said.group or None,
        )
        kind = self.kind if reader is None else Any
        default = self.default if self.default != () else None
        return Parameter(
            self.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
        )

    def _check(self, ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
        """Check a value that nobody typed here, while it is known where it is from."""
        source = describe_source(ctx, param)
        if source is not None and value is not None:
            try:
                check_value(self.name, value, self.kind, self.about.bounds)
            except UsageError as error:
                raise UsageError(f"{source}: {error}", hint=error.hint) from error
        return value


def _write_help(said: About) -> str:
    unit = f", {said.unit}" if said.unit else ""
    bounds = f" ({said.bounds})" if said.bounds else ""
    return f"{said.help}{unit}{bounds}."


def from_fields(function: Callable[..., None]) -> Callable[..., None]:
    """Return `function` as a command for Typer, with a parameter for each field of its groups."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, type[Options]] = {}
    taken: dict[str, list[Parameter]] = {}  # the command's parameters for each of the function's
    for name, parameter in signature(function).parameters.items():
        hint = hints[name]
        kind, only = get_args(hint) if get_origin(hint) is Annotated else (hint, None)
        if is_options(kind):
            groups[name] = kind
            found = (leaf for leaf in find_leaves(kind) if only is None or leaf.name in only.names)
            taken[name] = [leaf.make_parameter() for leaf in found]
        else:
            taken[name] = [parameter.replace(annotation=hint, kind=Parameter.KEYWORD_ONLY)]

    def command(**values: Any) -> None:
        arguments = {}
        for name, own in taken.items():
            given = {parameter.name: values[parameter.name] for parameter in own}
            arguments[name] = build(groups[name], given) if name in groups else given[name]
        function(**arguments)

    parameters = [parameter for own in taken.values() for parameter in own]
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    # Typer reads the signature and the annotations.
    vars(command)["__signature__"] = signature(function).replace(parameters=parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def find_leaves(group: type[Options], prefix: str = "") -> Iterator[Leaf]:
    """Yield the options of a group, with those of nested groups in their places."""
    kinds = get_type_hints(group)
    for named in fields(group):
        kind, said = kinds[named.name], about(named)
        inner = strip_none(kind)
        if not is_options(inner):
            yield Leaf(prefix + named.name, kind, named.default, said)
            continue
        if inner is not kind:
            yield _make_switch(said)
        yield from find_leaves(inner, said.prefix)


def _make_switch(said: About) -> Leaf:
    return Leaf(said.flags[0].lstrip("-").replace("-", "_"), bool, False, said)


def build(group: type[_Group], values: Mapping[str, Any], prefix: str = "") -> _Group:
    """Make the group from those of its options that `values` has; UsageError for wrong values."""
    kinds = get_type_hints(group)
    arguments: dict[str, Any] = {}
    for named in fields(group):
        kind, said = kinds[named.name], about(named)
        inner, name = strip_none(kind), prefix + named.name
        if is_options(inner):
            nested = arguments[named.name] = build(inner, values, said.prefix)
            if inner is not kind and not values.get(_make_switch(said).name):
                refuse_changed(nested, without=said.flags[0])
                arguments[named.name] = None
        elif name in values and (values[name] is not None or inner is not kind):
            arguments[named.name] = values[name]
    return group(**arguments)


def refuse_changed(group: Options, *, without: str) -> None:
    """Raise UsageError if an option of `group` was given that means nothing `without` another."""
    if changed := find_changed(group):
        raise UsageError(f"{changed.flag} needs {without}", hint=f"add {without}")


def find_changed(group: Options) -> Leaf | None:
    """Return the first option of `group` that has not its default; None where all have."""
    for leaf, named in zip(find_leaves(type(group)), fields(group), strict=True):
        if getattr(group, named.name) != leaf.default:
            return leaf
    return None


def read_number(value: str | float) -> float | None:
    """Read a number, or `none` for None. Typer passes the default too, which is a number."""
    text = str(value)
    if text.lower() == "none":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a number nor none") from error


def read_count(value: str | int) -> int | None:
    """Read a whole number, or `none` for None."""
    text = str(value)
    if text.lower() == "none":
        return None
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a whole number nor none") from error


def read_numbers(text: str) -> tuple[float, ...]:
    """Read `start,end,start,…`."""
    try:
        return tuple(float(number) for number in text.split(",") if number.strip())
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not numbers with commas between, for example 0,30,60"
        ) from error


# Kinds that Typer does not know: the function that reads each, and its placeholder in the help.
_READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    int | None: (read_count, "N|none"),
    float | None: (read_number, "NUMBER|none"),
    tuple[float, ...]: (read_numbers, "NUMBERS"),
}
