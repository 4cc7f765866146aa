"""`whisper-npu help`: the documentation that comes with the program."""

from __future__ import annotations

from typing import Annotated

import typer

from whisper_npu_cli.environment import find_shipped
from whisper_npu_cli.errors import UsageError, suggest


def show(
    topic: Annotated[
        str | None, typer.Argument(metavar="TOPIC", help="What to read (default: list them).")
    ] = None,
) -> None:
    """Print a page of the documentation, or what pages there are.

    Example: whisper-npu help npu
    """
    pages = {path.stem: path for path in sorted(find_shipped("docs").glob("*.md"))}
    if topic is None:
        for name, path in pages.items():
            with path.open(encoding="utf-8") as page:
                print(f"{name:<16} {page.readline().lstrip('# ').strip()}")
        return
    if topic not in pages:
        hint = f"{suggest(topic, pages)}there are {', '.join(pages)}"
        raise UsageError(f"no page about {topic!r}", hint=hint)
    print(pages[topic].read_text(encoding="utf-8"), end="")
