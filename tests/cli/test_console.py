from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.cli.console import shorten, show_progress


@given(st.text(max_size=200), st.integers(-5, 150))
def test_a_name_is_shortened_in_its_middle(text: str, width: int) -> None:
    short = shorten(text, width)
    assert len(short) <= max(8, width)
    if short != text:
        before, after = short.split("…")[0], short.rpartition("…")[2]
        assert text.startswith(before)
        assert text.endswith(after)
        assert len(after) >= len(before)  # the file's name tells more than its first folder


@pytest.mark.parametrize("columns", [80, 120])
def test_a_long_name_leaves_room_for_the_bar(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    with show_progress(f"[3/16] /{'folder/' * 30}talk.mp3", quiet=False) as show:
        show(0.5)
    assert "talk.mp3" in terminal.getvalue()
    assert "50 %" in terminal.getvalue()
