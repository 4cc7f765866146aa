"""Markdown tables and a chart of the measurements of `speed.py`."""

from __future__ import annotations

from statistics import median
from typing import Any

from whisper_npu_cli.bench.plot import describe_machine, draw_rect, draw_text

OURS = "whisper-npu"
NO_ENERGY = "Energy: not measured, because no powercap, hwmon or battery can be read here."
OURS_COLOUR, PEER_COLOUR = "#0072B2", "#999999"  # Okabe and Ito's blue, and grey
_LEFT, _WIDTH, _RIGHT, _ROW = 230, 430, 90, 22


def make_table(document: dict[str, Any]) -> str:
    """Return the comparison on windows of equal texts."""
    tokens = document["tokens_per_window"]
    return _compare(document, f"{document['n_windows']} windows of 30 s with {tokens} tokens each")


def make_real_table(document: dict[str, Any]) -> str:
    """Return the comparison on real speech."""
    minutes = document["duration_s"] / 60
    work = f"{minutes:.1f} minutes of English in one file, with timestamps and the text before"
    return _compare(document, work)


def _compare(document: dict[str, Any], work: str) -> str:
    """Return a row for each program; ratios are medians of the ratios within each round."""
    ours = {row["way"]: row["seconds"] for row in document["rows"] if row["program"] == OURS}
    rates = ", ".join(f"{name} {rate:.1f}" for name, rate in document["machine"].items())
    found = ", ".join(f"{name} {number}" for name, number in sorted(document["versions"].items()))
    heads = ["program", "precision", "way", "seconds", "x realtime", f"{OURS} is faster", "peak MB"]
    if "word_error_rate" in document["rows"][0]:
        heads.append("words wrong")
    if "idle_w" in document["machine"]:
        heads.append("J above idle an hour of audio")
    lines = [
        f"# Peers: {document['model']}",
        "",
        f"{work}; {document['threads']} threads; {document['cpu']}; {document['date']}; median of "
        f"{len(document['rows'][0]['seconds'])} interleaved rounds.",
        f"The machine in the same rounds: {rates}. {found}.",
        *([] if "idle_w" in document["machine"] else [NO_ENERGY]),
        "",
        _join_cells(heads),
        "|" + "---|" * len(heads),
    ]
    for row in document["rows"]:
        ratios = [s / mine for s, mine in zip(row["seconds"], ours[row["way"]], strict=True)]
        seconds = median(row["seconds"])
        cells = [row["program"], row["precision"], row["way"], f"{seconds:.1f}"]
        cells.append(f"{document['duration_s'] / seconds:.1f}")
        cells.append("" if row["program"] == OURS else f"{median(ratios):.2f} x")
        cells.append(f"{row['peak_mb']:.0f}")
        if "word_error_rate" in row:
            cells.append(f"{row['word_error_rate']:.1%}")
        if "idle_w" in document["machine"]:
            cells.append(f"{median(row['joules']) * 3600 / document['duration_s']:.0f}")
        lines.append(_join_cells(cells))
    return "\n".join(lines) + "\n"


def _join_cells(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def make_growth_tables(document: dict[str, Any]) -> str:
    """Return tables of growing cost; ratios are those of two successive measurements."""
    lines = [
        "# How cost grows",
        "",
        f"{document['tokens_per_window']} tokens in each window of 30 s; {document['threads']} "
        f"threads; {document['cpu']}; {document['date']}; each measured once, "
        f"{OURS} and faster-whisper int8 in turn.",
    ]
    for key, title in (
        ("minutes", "Length of the audio (tiny, batches of 8; a process for each)"),
        ("batches", "Windows in a batch (tiny)"),
        ("sizes", "Size of the model (one window after the other, greedy)"),
    ):
        lines += ["", f"## {title}", "", *_make_growth_table(document[key])]
    return "\n".join(lines) + "\n"


def _make_growth_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table with one line for each value of the first key that is not fixed."""
    key = list(rows[0])[1]
    lines = [
        f"| {key} | {OURS}: ms per window | peak MB | faster-whisper: ms per window | peak MB "
        f"| {OURS} is faster |",
        "|---|---|---|---|---|---|",
    ]
    for mine, theirs in zip(rows[::2], rows[1::2], strict=True):
        cells = [
            f"{1000 * row['seconds'] / row['n_windows']:.0f} | {row['peak_mb']:.0f}"
            for row in (mine, theirs)
        ]
        ratio = theirs["seconds"] / mine["seconds"]
        lines.append(f"| {mine[key]} | {cells[0]} | {cells[1]} | {ratio:.2f} x |")
    return lines


def draw_chart(document: dict[str, Any]) -> str:
    """Return bars of the times-realtime factor as SVG, the fastest first."""
    rows = sorted(document["rows"], key=lambda row: -_compute_speed(document, row))
    scale = _WIDTH / _compute_speed(document, rows[0])
    height = 64 + len(rows) * _ROW
    body = [
        draw_text(
            12,
            24,
            f"{document['model']}: times realtime "
            f"({document['tokens_per_window']} tokens in every 30 s)",
            size=15,
        ),
        draw_text(12, height - 10, describe_machine(document), size=11),
    ]
    for i, row in enumerate(rows):
        y, speed = 40 + i * _ROW, _compute_speed(document, row)
        label = " ".join(
            part for part in (row["program"], row["precision"], row["way"]) if part != "auto"
        )
        colour = OURS_COLOUR if row["program"] == OURS else PEER_COLOUR
        body += [
            draw_text(_LEFT - 8, y + 13, label, anchor="end"),
            draw_rect(_LEFT, y, speed * scale, colour, _ROW - 6),
            draw_text(_LEFT + speed * scale + 6, y + 13, f"{speed:.1f} x"),
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}"'
        f' font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(body)}</svg>\n"
    )


def _compute_speed(document: dict[str, Any], row: dict[str, Any]) -> float:
    return float(document["duration_s"]) / float(median(row["seconds"]))
