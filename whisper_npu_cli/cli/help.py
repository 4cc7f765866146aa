"""Commands and their plain help: Typer's boxes cut long option names and take 0.1 s to import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_DEFAULT = "transcribe"


class Group(TyperGroup):
    """Commands, of which one is meant where a file or a folder is named in place of a command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name of the command, the command, and its arguments."""
        if self.get_command(ctx, args[0]) is None and _names_input(args[0]):
            args = [_DEFAULT, *args]
        return super().resolve_command(ctx, args)


def _names_input(argument: str) -> bool:
    """Return whether it can be an input alone: it is there, or named as files and addresses are."""
    path = Path(argument)
    return argument == "-" or path.exists() or "/" in argument or bool(path.suffix)


class Command(TyperCommand):
    """A command whose plain help keeps the groups of its options (`rich_help_panel`)."""

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Write the arguments and options, a section for each group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            title = getattr(param, "rich_help_panel", None) or f"{param.param_type_name.title()}s"
            if param.default is False:  # which a flag without a value says
                param.show_default = False  # type: ignore[attr-defined]
            if record := param.get_help_record(ctx):
                names, text = record
                if not param.default:  # its --no-... is for what a file sets
                    names = names.partition(" / ")[0]
                groups.setdefault(title, []).append((names, text))
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)
