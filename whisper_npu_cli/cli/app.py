"""The `whisper-npu` command: its subcommands, and the exit status of each error.

It imports nothing heavy, because `--help` must answer within a quarter of a second.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from whisper_npu_cli import __version__
from whisper_npu_cli.cli import (
    bench,
    cache,
    config,
    doctor,
    listen,
    models,
    overlays,
    serve,
    topics,
    transcribe,
)
from whisper_npu_cli.cli.console import print_error, stdout_errors
from whisper_npu_cli.cli.help import Command, Group
from whisper_npu_cli.cli.spelling import translate
from whisper_npu_cli.cli.usage import TYPER_ERROR, explain, is_help
from whisper_npu_cli.errors import UsageError, WhisperNpuError

app = typer.Typer(
    name="whisper-npu",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    # openai-whisper spells its options with underscores.
    context_settings={
        "token_normalize_func": lambda name: name.replace("_", "-"),
        "help_option_names": ["-h", "--help"],
    },
    cls=Group,
    help="Transcribe speech with Whisper on AMD XDNA1 NPUs, and on the CPU everywhere.",
    epilog="Try: whisper-npu demo",
)
app.command("transcribe", cls=config.ConfiguredCommand)(transcribe.transcribe)
app.command("demo")(transcribe.demo)
app.command("listen", cls=Command)(listen.listen)
app.command("serve", cls=Command)(serve.serve)
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)
app.command("config")(config.config)
app.command("help")(topics.show)
app.add_typer(models.app, name="models")
app.add_typer(cache.app, name="cache")
app.add_typer(overlays.app, name="overlays")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"whisper-npu {__version__}")
        raise typer.Exit


_SYSTEM_HINT = "make space, end other programs, or raise the limits of `ulimit -a`"
_NO_THREAD = ("can't start new thread", "Resource temporarily unavailable")  # Python, C++
_NO_FRAME = "error return without exception set"  # Python 3.11, where a call has no memory
_MEMORY_HINT = "end other programs, raise `ulimit -v`, or take a smaller model or --batch-size"


@app.callback()
def _common(
    _version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Show it."),
    ] = False,
) -> None:
    """Options of the program as a whole."""


def main() -> None:
    """Run the command line; the entry point of the distribution.

    Typer returns exit status 130 for Ctrl-C, and ends quietly when the reader of stdout is gone.
    Characters that stdout's encoding lacks are escaped, as on stderr, because the name of a file
    may be any bytes.
    """
    _open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with stdout_errors():
            arguments = list(translate(sys.argv[1:]))
            status = app(arguments, prog_name="whisper-npu", standalone_mode=False)
    except WhisperNpuError as error:
        _end(error)
    except (MemoryError, SystemError) as error:
        if isinstance(error, SystemError) and str(error) != _NO_FRAME:
            raise
        _end(WhisperNpuError("out of memory", hint=_MEMORY_HINT))
    except OSError as error:
        _end(_explain(error))
    except RuntimeError as error:
        if not str(error).strip().endswith(_NO_THREAD):
            raise
        _end(WhisperNpuError("no thread can be started", hint=_SYSTEM_HINT))
    except TYPER_ERROR as error:
        if not is_help(error):
            _end(explain(error))
        print(error, file=sys.stderr)
        sys.exit(UsageError.exit_code)
    sys.exit(status or 0)


def _explain(error: OSError) -> WhisperNpuError:
    """Return what the system refused: a file, a process, or memory for a library."""
    if error.errno is None:  # a library could not be loaded, for want of memory mostly
        return WhisperNpuError(str(error), hint=_MEMORY_HINT)
    place = f"{error.filename}: " if error.filename is not None else ""
    return WhisperNpuError(f"{place}{error.strerror}", hint=_SYSTEM_HINT)


def _end(error: WhisperNpuError) -> NoReturn:
    print_error(error)
    sys.exit(error.exit_code)


def _open_closed_streams() -> None:
    """Give standard streams that the shell closed to nobody, so that no file takes their place."""
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            with suppress(OSError):  # it is open by now, with something else
                os.fstat(number)
                continue
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))
