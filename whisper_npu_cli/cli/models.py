"""`whisper-npu models`: list, download and locate models."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whisper_npu_cli.cli.completion import complete_model
from whisper_npu_cli.cli.console import print_notice
from whisper_npu_cli.cli.tables import format_date, format_size, print_table
from whisper_npu_cli.errors import UsageError

if TYPE_CHECKING:
    from whisper_npu_cli.checkpoints.copies import Copy

app = typer.Typer(no_args_is_help=True, help="List, download, locate and delete models.")

_Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="An alias, ORGANISATION/REPOSITORY, directory or file.",
        autocompletion=complete_model,
    ),
]


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show the aliases and all models that are here, also in the caches of other programs.

    Of several with one name the first is used. What is not here has its repository in place of its
    path. LAST USE is the day on which the weights were read, as the file system noted it.

    Example: whisper-npu models list
    """
    from whisper_npu_cli.checkpoints.caches import ALIASES
    from whisper_npu_cli.checkpoints.copies import Copy, list_copies
    from whisper_npu_cli.checkpoints.names import DEMO, resolve

    copies = [*list_copies(), Copy(DEMO, resolve(DEMO, offline=True))]
    if as_json:
        models = [_describe(copy) for copy in copies]
        print(json.dumps({"schema_version": 1, "models": models}, default=str))
        return
    here = {copy.name for copy in copies}
    absent = [
        [alias, "-", "-", "-", repository]
        for alias, repository in ALIASES.items()
        if alias not in here
    ]
    print_table(["NAME", "SIZE", "FORMAT", "LAST USE", "WHERE"], [*map(_make_row, copies), *absent])


def _describe(copy: Copy) -> dict[str, Any]:
    return {
        "name": copy.name,
        "repository": copy.repository,
        "path": copy.path,
        "format": copy.format,
        "size_bytes": copy.size_bytes,
        "last_use": datetime.fromtimestamp(copy.used_s).astimezone().isoformat(),
    }


def _make_row(copy: Copy) -> list[str]:
    size, date = format_size(copy.size_bytes), format_date(copy.used_s)
    return [copy.name, size, copy.format, date, str(copy.path)]


@app.command()
def pull(name: _Name) -> None:
    """Download a model unless it is here, check it, and print its directory or file.

    It goes into the Hugging Face cache.

    Example: whisper-npu models pull base.en
    """
    from whisper_npu_cli.checkpoints.names import open_checkpoint, resolve

    directory = resolve(name, offline=False)
    open_checkpoint(name, offline=True)
    typer.echo(directory)


@app.command()
def path(name: _Name) -> None:
    """Print the directory or file of a model that is here already. Never goes online.

    Example: whisper-npu models path base.en
    """
    from whisper_npu_cli.checkpoints.names import resolve

    typer.echo(resolve(name, offline=True))


@app.command()
def remove(
    name: _Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a model from the caches.

    All copies of a name go, or the one that a path names. Says first what that deletes, and asks.
    Of a repository only what no other version of it needs is deleted; a model outside the caches
    never is. Programs that use it go on.

    Example: whisper-npu models remove base.en
    """
    from whisper_npu_cli.checkpoints.copies import Deletion, find_removable

    copies = find_removable(name)
    deletion = Deletion(copies)
    for copy in copies:
        print_notice(f"{copy.format}, {format_size(copy.size_bytes)}: {copy.path}")
    size = format_size(deletion.size_bytes)
    if not yes and not sys.stdin.isatty():
        raise UsageError(f"nobody can be asked whether to delete {size}", hint="add --yes")
    if not yes:
        typer.confirm(f"delete {size}?", abort=True, err=True)
    deletion.execute()
    print_notice(f"deleted: {size}")
