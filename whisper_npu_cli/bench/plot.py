"""The bench's chart: a stacked bar for each device, as a small SVG file of plain shapes."""

from __future__ import annotations

from datetime import date
from typing import Any
from xml.sax.saxutils import escape

STAGES = ("mel", "encode", "decode")
# Okabe and Ito's palette: distinct also to colour-blind readers.
COLOURS = {"mel": "#009E73", "encode": "#0072B2", "decode": "#E69F00"}
_LEFT, _WIDTH, _RIGHT = 100, 420, 310
_BAR, _GAP, _TOP, _BOTTOM = 26, 18, 64, 30


def plot_svg(document: dict[str, Any]) -> str:
    """Return the chart of a bench document: milliseconds of one 30 s window, by stage."""
    devices = document["devices"]
    longest = max(sum(device["window"][f"{stage}_ms"] for stage in STAGES) for device in devices)
    scale = _WIDTH / longest
    height = _TOP + len(devices) * (_BAR + _GAP) + _BOTTOM
    body = [
        draw_text(_LEFT, 22, f"{document['model']}: ms for 30 s of audio", size=15),
        *_draw_legend(),
    ]
    for row, device in enumerate(devices):
        body += _draw_bar(device, _TOP + row * (_BAR + _GAP), scale)
    body.append(draw_text(_LEFT, height - 14, describe_machine(document), size=11))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}"'
        f' font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(body)}</svg>\n"
    )


def _draw_legend() -> list[str]:
    shapes = []
    for i, stage in enumerate(STAGES):
        x = _LEFT + 100 * i
        shapes += [draw_rect(x, 34, 12, COLOURS[stage], 12), draw_text(x + 18, 45, stage)]
    return shapes


def _draw_bar(device: dict[str, Any], y: float, scale: float) -> list[str]:
    window = device["window"]
    shapes = [draw_text(_LEFT - 10, y + 18, device["name"], anchor="end")]
    x = float(_LEFT)
    for stage in STAGES:
        width = window[f"{stage}_ms"] * scale
        shapes.append(draw_rect(x, y, width, COLOURS[stage], _BAR))
        x += width
    times = [round(window[f"{stage}_ms"], 1) for stage in STAGES]  # so that what is read adds up
    total = f"{' + '.join(map(str, times))} = {sum(times):.1f} ms, {window['speed']:.1f} x realtime"
    return [*shapes, draw_text(x + 8, y + 18, total)]


def describe_machine(document: dict[str, Any]) -> str:
    """Return on what was measured, and when: `AMD Ryzen 7 7840U, 8 threads, 28 November 2026`."""
    day = date.fromisoformat(document["date"])
    return f"{document['cpu']}, {document['threads']} threads, {day.day} {day:%B %Y}"


def draw_rect(x: float, y: float, width: float, fill: str, height: float) -> str:
    """Return a filled rectangle with its upper left corner at (`x`, `y`)."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{fill}"/>'


def draw_text(
    x: float, y: float, text: str, *, size: int = 13, anchor: str = "start", fill: str = "#222"
) -> str:
    """Return a line of text; `x` is the place of its `anchor`, `y` its baseline."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
        f' fill="{fill}">{escape(text)}</text>'
    )
