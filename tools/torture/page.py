"""The figures of a campaign as docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tools.torture.campaign import Campaign, Row, describe_machine
from whisper_npu_cli.environment import collect_versions

_MENDED = Path(__file__).with_name("mended.md")
_HEAD = "| what | tried | right | refused in one line | lost | remarks |\n|---|---|---|---|---|---|"
_EXPLANATION = """
*Right* is what gives what it should, to the byte where outputs are compared. *Refused* is a failure
that is told: one line that says what is wrong, a status other than 0, and no output that is not
whole. Everything else is *lost*: a traceback, a wrong or half output, a status that lies, a hang,
memory beyond the limit, something left behind, or a next run that does not work. A loss has a
number, and the command below it repeats it. What is tried has an aim where it is *n of* an aim.
"""


@dataclass(frozen=True)
class Chapter:
    """What a part has found."""

    name: str
    title: str
    took_s: float
    rows: Sequence[Row]


def compose(chapters: Sequence[Chapter], campaign: Campaign) -> str:
    """Return the page."""
    return "\n".join(_list_lines(chapters, campaign))


def _list_lines(chapters: Sequence[Chapter], campaign: Campaign) -> Iterator[str]:
    rows = [row for chapter in chapters for row in chapter.rows]
    n_lost = sum(len(row.losses) for row in rows)
    minutes = sum(chapter.took_s for chapter in chapters) / 60
    versions = ", ".join(f"{name} {version}" for name, version in collect_versions().items())
    yield "# Reliability\n"
    yield f"Written by `make torture ARGS='--seconds {campaign.seconds:.0f}'`, which tries what"
    yield "must never go wrong until its time is over (half an hour, where nothing is given):"
    yield f"{sum(row.tried for row in rows)} trials, {n_lost} lost, in {minutes:.0f} minutes.\n"
    yield f"{datetime.now(UTC):%Y-%m-%d}, {describe_machine()}, seed {campaign.seed}; {versions}."
    yield _EXPLANATION
    for chapter in chapters:
        yield f"## {chapter.title}\n\n{_HEAD}"
        yield from map(_format, chapter.rows)
        yield ""
        yield from _list_losses(chapter, campaign)
    yield _MENDED.read_text(encoding="utf-8")


def _format(row: Row) -> str:
    tried = row.tried if row.aim is None else f"{row.tried} of {row.aim}"
    cells = [row.name, tried, row.right, row.refused, len(row.losses), "; ".join(row.notes)]
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def _list_losses(chapter: Chapter, campaign: Campaign) -> Iterator[str]:
    losses = [loss for row in chapter.rows for loss in row.losses]
    for loss in losses:
        yield f"- {' '.join(loss.what.split())}"
        yield (
            f"  `python -m tools.torture --parts {chapter.name} --seed {campaign.seed}"
            f" --only {loss.number}`"
        )
    if losses:
        yield ""
