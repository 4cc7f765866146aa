"""`whisper-npu models`: list, download and locate models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="List, download and locate models.")

_Name = Annotated[
    str, typer.Argument(metavar="NAME", help="An alias, ORGANISATION/REPOSITORY, or directory.")
]


@app.command("list")
def list_models() -> None:
    """Show the aliases, their repositories and cached sizes.

    Example: whisper-npu models list
    """
    from whisper_npu_cli.checkpoints.hub import find_cached
    from whisper_npu_cli.checkpoints.names import ALIASES, DEMO, find_local

    rows = [(alias, repository, find_cached(repository)) for alias, repository in ALIASES.items()]
    rows.append((DEMO, "comes with whisper-npu", find_local(DEMO)))
    typer.echo(f"{'NAME':<18} {'REPOSITORY':<32} {'SIZE':>9}")
    for alias, repository, directory in rows:
        size = _format_size(directory) if directory else "-"
        typer.echo(f"{alias:<18} {repository:<32} {size:>9}")


@app.command()
def pull(name: _Name) -> None:
    """Download a model, check it, and print its directory.

    It goes into the Hugging Face cache.

    Example: whisper-npu models pull base.en
    """
    from whisper_npu_cli.checkpoints.names import open_checkpoint, resolve

    directory = resolve(name, offline=False)
    open_checkpoint(name, offline=True)
    typer.echo(directory)


@app.command()
def path(name: _Name) -> None:
    """Print the directory of a model that is here already. Never goes online.

    Example: whisper-npu models path base.en
    """
    from whisper_npu_cli.checkpoints.names import resolve

    typer.echo(resolve(name, offline=True))


def _format_size(directory: Path) -> str:
    n_bytes = sum(file.stat().st_size for file in directory.iterdir() if file.is_file())
    return f"{n_bytes / 1e6:.0f} MB"
