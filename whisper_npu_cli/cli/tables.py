"""Plain tables on stdout, and what stands in their cells."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date
from math import ceil
from shutil import get_terminal_size

SHORTEST = 8  # characters that `shorten` leaves at least
_CELL_WIDTH = 33  # of a table on a terminal: the longest name of an option


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below headings on stdout; a terminal gets columns that fit."""
    table = [headings, *rows]
    if sys.stdout.isatty():
        table = [[*(shorten(cell, _CELL_WIDTH) for cell in cells), last] for *cells, last in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)][:-1]
    rest = get_terminal_size().columns - sum(width + 2 for width in widths)
    for *cells, last in table:
        line = "".join(f"{cell:<{width + 2}}" for cell, width in zip(cells, widths, strict=True))
        print(line + (shorten(last, rest) if sys.stdout.isatty() else last))


def format_size(n_bytes: int) -> str:
    """Return a size as `290 MB`; what is there has at least 1."""
    return f"{ceil(n_bytes / 1e6)} MB"


def format_date(seconds: float) -> str:
    """Return the day of a time in seconds since 1970."""
    return date.fromtimestamp(seconds).isoformat()


def shorten(text: str, width: int) -> str:
    """Return a text of at most `width` characters, but of at least SHORTEST: its middle goes."""
    width = max(SHORTEST, width)
    if len(text) <= width:
        return text
    n_before = (width - 1) // 3
    return f"{text[:n_before]}…{text[len(text) - (width - 1 - n_before) :]}"
