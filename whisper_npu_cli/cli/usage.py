"""What is wrong with a command line, as one of our errors: Typer has a style of its own."""

from __future__ import annotations

import re
from typing import Any

import typer

from whisper_npu_cli.errors import UsageError

# The base of all that Typer finds wrong with a command line, to which it gives no public name
TYPER_ERROR: Any = typer.BadParameter.mro()[1]


def explain(error: Any) -> UsageError:
    """Return the error for what Typer found; its hint names the alternatives and the help."""
    command = error.ctx.command_path if error.ctx else "whisper-npu"
    close = sorted(getattr(error, "possibilities", None) or ())
    message = error.message if close else error.format_message()
    if found := re.search(r"(.*)\. Did you mean '?([^']*?)'?\?$", message):
        message, close = found[1], [found[2]]
    meant = f"did you mean {' or '.join(close)}?; " if close else ""
    return UsageError(_reword(message), hint=f"{meant}`{command} --help` tells more")


def is_help(error: Any) -> bool:
    """Return whether nothing was asked for, to which the help is the answer."""
    return str(error).startswith("Usage: ")


def _reword(message: str) -> str:
    """Return a message of Typer's without its capital, its full stop, and Python's words."""
    variable = r"(?: \(env var: '[^']*'\))?"
    found = re.match(rf"Invalid value for '?([^':]+)'?{variable}: (?:Value error, )?", message)
    name, said = (f"{found[1]}: ", message[found.end() :]) if found else ("", message)
    return name + said[0].lower() + said[1:].rstrip(".")
