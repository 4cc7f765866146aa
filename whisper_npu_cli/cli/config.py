"""Defaults that stay: the options of `transcribe` from a file and from variables.

    beam-size = 1, or beam_size = 1   in XDG_CONFIG_HOME/whisper-npu/config.toml, else ~/.config/…
    WHISPER_NPU_BEAM_SIZE=1           an empty variable is not set

The command line goes before a variable, that before the file, that before the program's default.
Names and values are what is typed on the command line; a flag is true or false, and a TOML array
is its items with commas between. The options are those that the command has: there is no list here.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, TypeGuard

import typer

from whisper_npu_cli.cli.help import Command
from whisper_npu_cli.cli.tables import print_table
from whisper_npu_cli.environment import VARIABLES, find_config_folder
from whisper_npu_cli.errors import CheckpointError, DeviceError, UsageError, suggest

_PREFIX = "WHISPER_NPU_"
_HINT = "`whisper-npu transcribe --help` lists the options"
# What click calls the places of values that nobody typed
_SOURCES = {"ENVIRONMENT": "environment", "DEFAULT_MAP": "file", "DEFAULT": "default"}


class ConfiguredCommand(Command):
    """A command whose options may come from the file and from variables."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        """Give each option its variable, unless that is one that every command reads."""
        super().__init__(*args, **settings)
        for key, param in self.find_options().items():
            variable = _PREFIX + key.upper().replace("-", "_")
            param.envvar = None if variable in VARIABLES else variable
            param.show_envvar = False  # they are all named alike, which `config --help` tells

    def find_options(self) -> dict[str, Any]:
        """Return the options, by their names without dashes before."""
        found = (param for param in self.params if param.param_type_name == "option")
        return {param.opts[0][2:]: param for param in found if not param.is_eager}

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse the arguments; UsageError says which file or variable a wrong value is from."""
        if not ctx.resilient_parsing and not set(args) & set(ctx.help_option_names):
            self._refuse_unknown_variables()
            ctx.default_map = self._read_file()
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if source := describe_source(ctx, error.param):
                raise UsageError(f"{source}: {error.message}", hint=_HINT) from error
            raise

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command; the hint of an error names what it speaks of and nobody typed."""
        try:
            return super().invoke(ctx)
        except (UsageError, CheckpointError, DeviceError) as error:
            text = f"{error} {error.hint}".replace("-", " ")
            options = self.find_options().items()
            spoken_of = [param for key, param in options if key.replace("-", " ") in text]
            places = [place for param in spoken_of if (place := describe_source(ctx, param))]
            if places:
                error.hint = "; ".join([*filter(None, [error.hint]), f"see {', '.join(places)}"])
            raise

    def _refuse_unknown_variables(self) -> None:
        known = {*VARIABLES, *(param.envvar for param in self.find_options().values())} - {None}
        for name in sorted(os.environ):
            if name.startswith(_PREFIX) and name not in known:
                words = sorted(one.removeprefix(_PREFIX) for one in known)
                raise UsageError(
                    f"{name}: no option has that variable",
                    hint=f"{suggest(name.removeprefix(_PREFIX), words)}{_HINT}",
                )

    def _read_file(self) -> dict[str, Any]:
        """Return the values of the file, by the names of the command's parameters."""
        path, options, values = find_file(), self.find_options(), dict[str, Any]()
        for name, value in read_toml(path).items():
            key = name.replace("_", "-")
            if key not in options:
                raise UsageError(
                    f"{path}: unknown option {name!r}", hint=f"{suggest(key, options)}{_HINT}"
                )
            param = options[key]
            if param.name in values:
                raise UsageError(f"{path}: {key} is there twice, with - and with _")
            values[param.name] = _spell(value, f"{path}: {key}", is_flag=param.is_flag)
        return values


def _spell(value: Any, place: str, *, is_flag: bool) -> bool | str:
    """Return a value of TOML as it is typed; UsageError, with its place, where it cannot be."""
    if is_flag and isinstance(value, bool):
        return value
    items = value if isinstance(value, list) else [value]
    # type, because a bool is an int
    if not is_flag and all(type(item) in (str, int, float) for item in items):
        return ",".join(map(str, items))
    expected = "true or false" if is_flag else "text or a number"
    found = json.dumps(value, default=str)
    raise UsageError(f"{place}: expected {expected}, found {found}")


def find_file() -> Path | None:
    """Return where the file is or would be; None for a user who has no home."""
    folder = find_config_folder()
    return folder and folder / "whisper-npu" / "config.toml"


def _is_there(path: Path | None) -> TypeGuard[Path]:
    # Unlike Path.exists, this is no error in a folder of another user, as after `sudo -u`.
    return path is not None and os.path.exists(path)  # noqa: PTH110


def read_toml(path: Path | None) -> dict[str, Any]:
    """Return what a file says, nothing where there is none; UsageError where it is not TOML."""
    if not _is_there(path):
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UsageError(f"{path}: cannot be read: {reason}") from error
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5,000 digits
        raise UsageError(f"{path}: is not TOML: {error}") from error


def describe_source(ctx: Any, param: Any) -> str | None:
    """Return the variable, or the file and its key, that gave an option its value; else None."""
    source = _name_source(ctx, param)
    if source == "environment":
        return str(param.envvar)
    return f"{find_file()}: {param.opts[0][2:]}" if source == "file" else None


def _name_source(ctx: Any, param: Any) -> str | None:
    source = param and ctx.get_parameter_source(param.name)
    return _SOURCES.get(source.name) if source else None


def config(
    ctx: typer.Context,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show the options that have their defaults too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show options set by a file or variables.

    They are those of transcribe. The file is ~/.config/whisper-npu/config.toml, or in
    XDG_CONFIG_HOME, with lines such as `model = "small"` and `word-timestamps = true`. The variable
    of --beam-size is WHISPER_NPU_BEAM_SIZE. The command line goes before a variable, that before
    the file. A flag that is set so is taken back by --no- before its name: --no-word-timestamps.

    Example: whisper-npu config
    """
    command = ctx.find_root().command.commands["transcribe"]  # type: ignore[attr-defined]
    given = command.make_context("transcribe", ["-"], parent=ctx.parent)
    options = [
        {
            "option": key,
            "value": given.params[param.name],
            "source": _name_source(given, param),
            "variable": param.envvar,
        }
        for key, param in command.find_options().items()
    ]
    shown = [option for option in options if show_all or option["source"] != "default"]
    path = find_file()
    if as_json:
        document = {"schema_version": 1, "file": path, "options": shown}
        print(json.dumps(document, default=str))
        return
    if path is not None:
        print(f"file: {path}{'' if _is_there(path) else ' (not there)'}")
    if shown:
        print_table(["OPTION", "FROM", "VALUE"], [_describe(option) for option in shown])
    else:
        print("every option has its default")


def _describe(option: dict[str, Any]) -> list[str]:
    value, source = option["value"], option["source"]
    if isinstance(value, bool) or value is None:
        value = str(value).lower()
    elif isinstance(value, tuple):
        value = ",".join(map(str, value))
    place = option["variable"] if source == "environment" else source
    return [option["option"], place, str(value)]
