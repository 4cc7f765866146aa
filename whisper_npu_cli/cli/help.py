"""Help that can be read on narrow terminals."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.text import Text


class Command(TyperCommand):
    """A command whose help breaks long names of options in two; Typer's would cut them."""

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Write the help; the names of options come from these two functions of Typer."""
        from typer import rich_utils

        for name in ("highlighter", "negative_highlighter"):
            setattr(rich_utils, name, partial(_breakable, getattr(rich_utils, name)))
        super().format_help(ctx, formatter)


def _breakable(highlight: Callable[[str], Text], name: str) -> Text:
    text = highlight(name)
    text.overflow = "fold"
    return text
