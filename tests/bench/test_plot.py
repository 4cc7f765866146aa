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
    root = ElementTree.fromstring(plot_svg({"model": "random:base", "devices": devices}))
    bars = [rect for rect in root.iter(f"{SVG}rect") if rect.get("height") == "26"]
    widths = [float(bar.get("width", "nan")) for bar in bars]
    assert [bar.get("fill") for bar in bars] == list(COLOURS.values()) * 2
    assert widths[3:] == pytest.approx([2 * width for width in widths[:3]], abs=0.1)
    starts = [float(bar.get("x", "nan")) for bar in bars]
    assert starts[1] == pytest.approx(starts[0] + widths[0], abs=0.1)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "a & b" in texts
    assert "400 ms, 75x realtime" in texts
