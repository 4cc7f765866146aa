from __future__ import annotations

from xml.etree import ElementTree

import pytest

from whisper_npu_cli.bench.plot import COLOURS, plot_svg

SVG = "{http://www.w3.org/2000/svg}"


def device(name: str, mel: float, encode: float, decode: float) -> dict[str, object]:
    total = mel + encode + decode
    window = {"mel_ms": mel, "encode_ms": encode, "decode_ms": decode}
    return {"name": name, "window": window | {"ms_per_window": total, "speed": 30_000 / total}}


def test_bars_are_stacked_to_scale() -> None:
    devices = [device("cpu", 10, 300, 90), device("a & b", 20, 600, 180)]
    measured = {"date": "2026-11-28", "cpu": "some CPU", "threads": 2}
    document = {"model": "random:base", "devices": devices, **measured}
    root = ElementTree.fromstring(plot_svg(document))
    bars = [rect for rect in root.iter(f"{SVG}rect") if rect.get("height") == "26"]
    widths = [float(bar.get("width", "nan")) for bar in bars]
    assert [bar.get("fill") for bar in bars] == list(COLOURS.values()) * 2
    assert widths[3:] == pytest.approx([2 * width for width in widths[:3]], abs=0.1)
    starts = [float(bar.get("x", "nan")) for bar in bars]
    assert starts[1] == pytest.approx(starts[0] + widths[0], abs=0.1)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "a & b" in texts
    assert "10 + 300 + 90 = 400.0 ms, 75.0 x realtime" in texts
    assert "some CPU, 2 threads, 28 November 2026" in texts


def test_the_numbers_that_are_read_add_up() -> None:
    document = {"model": "base", "date": "2026-11-28", "cpu": "some CPU", "threads": 2}
    svg = plot_svg(document | {"devices": [device("cpu", 10.44, 300.44, 90.44)]})
    assert "10.4 + 300.4 + 90.4 = 401.2 ms" in svg
