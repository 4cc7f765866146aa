"""`whisper-npu cache`: what this program has compiled and stored, and its deletion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from whisper_npu_cli.cli.console import print_notice
from whisper_npu_cli.cli.tables import format_date, format_size, print_table
from whisper_npu_cli.errors import OutputError

app = typer.Typer(invoke_without_command=True)
_ENCODER, _DECODER, _CODE = "stored encoder", "stored decoder", "compiled code"


@dataclass(frozen=True)
class _Stored:
    """Files that belong together: an encoder or decoder of a model, or the code of all of them."""

    what: str
    model: str | None
    path: Path  # the file, or the folder of the files
    files: tuple[Path, ...]
    size_bytes: int
    used_s: float  # seconds since 1970


@app.callback()
def show(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show what was compiled and stored, or delete it.

    Compiled code, and encoders and decoders in the form in which they run: for which model, how
    large, when it was last used, and where it is. All of it is made anew when it is needed. What
    belongs to a model goes by itself when it was not used for 30 days.

    Example: whisper-npu cache

    Example: whisper-npu cache clear --models
    """
    if ctx.invoked_subcommand is not None:
        return
    stored = _list_stored()
    if as_json:
        print(json.dumps({"schema_version": 1, "stored": [_describe(one) for one in stored]}))
    elif stored:
        print_table(["WHAT", "MODEL", "SIZE", "LAST USE", "WHERE"], [_make_row(s) for s in stored])
    else:
        print_notice("nothing is stored")


@app.command()
def clear(
    models: Annotated[
        bool, typer.Option("--models", help="Delete the stored encoders and decoders alone.")
    ] = False,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Delete the compiled code alone.")
    ] = False,
) -> None:
    """Delete compiled code, stored encoders and stored decoders.

    The next run makes anew what it needs; programs that use them go on.

    Example: whisper-npu cache clear
    """
    chosen = {_ENCODER: models, _DECODER: models, _CODE: compiled}
    whats = [what for what, is_chosen in chosen.items() if is_chosen] or list(chosen)
    gone = [one for one in _list_stored() if one.what in whats]
    for file in (file for one in gone for file in one.files):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{file}: cannot be deleted: {error.strerror}") from error
    print_notice(f"deleted: {format_size(sum(one.size_bytes for one in gone))}")


def _list_stored() -> list[_Stored]:
    from whisper_npu_cli.engines.numba_decoder import code, decoder, stored
    from whisper_npu_cli.engines.openvino_encoder import stored as stored_encoder
    from whisper_npu_cli.options import EngineOptions

    found = []
    for what, shelf in ((_ENCODER, stored_encoder.SHELF), (_DECODER, stored.SHELF)):
        for model, path in shelf.list_files():
            with suppress(FileNotFoundError):  # another process was first
                status = path.stat()
                found.append(_Stored(what, model, path, (path,), status.st_size, status.st_mtime))
    if files := code.list_stored(decoder.list_kernels(EngineOptions())):
        found.append(_sum_up(files))
    return found


def _sum_up(files: Sequence[Path]) -> _Stored:
    """Return the files of compiled code, which one folder holds, as one."""
    statuses = [file.stat() for file in files]
    size_bytes, used_s = sum(s.st_size for s in statuses), max(s.st_atime for s in statuses)
    return _Stored(_CODE, None, files[0].parent, tuple(files), size_bytes, used_s)


def _describe(one: _Stored) -> dict[str, str | int | None]:
    return {
        "what": one.what,
        "model": one.model,
        "path": str(one.path),
        "size_bytes": one.size_bytes,
        "last_use": datetime.fromtimestamp(one.used_s).astimezone().isoformat(),
    }


def _make_row(one: _Stored) -> list[str]:
    size, date = format_size(one.size_bytes), format_date(one.used_s)
    return [one.what, one.model or "any", size, date, str(one.path)]
