"""`whisper-npu models`: list, download and locate models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="List, download and locate models.")

_Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="An alias, ORGANISATION/REPOSITORY, directory or file."),
]


@app.command("list")
def list_models() -> None:
    """Show the aliases and where their models are: here, and in the caches of other programs.

    Of several with one name the first is used; one without a name is used by its path.

    Example: whisper-npu models list
    """
    from whisper_npu_cli.checkpoints.caches import ALIASES, find_copies, list_quantized
    from whisper_npu_cli.checkpoints.names import DEMO, find_local

    typer.echo(_format_row("NAME", "REPOSITORY", "SIZE", "FORMAT", "PATH"))
    for alias, repository in ALIASES.items():
        copies: list[Path | None] = list(find_copies(alias))
        for path in copies or [None]:
            typer.echo(_format_row(alias, repository, *_describe(path)))
    typer.echo(_format_row(DEMO, "comes with whisper-npu", *_describe(find_local(DEMO))))
    for path in list_quantized():
        typer.echo(_format_row("-", "-", *_describe(path)))


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


def _format_row(name: str, repository: str, size: str, kind: str, path: str) -> str:
    return f"{name:<18} {repository:<32} {size:>9}  {kind:<14} {path}".rstrip()


def _describe(path: Path | None) -> tuple[str, str, str]:
    """Return size, format and path of a model, in words."""
    from whisper_npu_cli.checkpoints.formats import tell_format
    from whisper_npu_cli.errors import CheckpointError

    if path is None:
        return "-", "", ""
    files = path.iterdir() if path.is_dir() else [path]
    n_bytes = sum(file.stat().st_size for file in files if file.is_file())
    try:
        kind = tell_format(path)
    except CheckpointError:
        kind = "unknown"
    return f"{n_bytes / 1e6:.0f} MB", kind, str(path)
