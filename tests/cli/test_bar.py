"""What the screen shows while audio is transcribed, on terminals of several widths."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.support.digits import compose_clips
from tests.support.terminal import run_on_terminal
from whisper_npu_cli.cli.bar import shorten
from whisper_npu_cli.dims import SAMPLE_RATE

DEMO = ("--model", "demo", "--device", "cpu", "--beam-size", "none")


@given(st.text(max_size=200), st.integers(-5, 150))
def test_a_name_is_shortened_in_its_middle(text: str, width: int) -> None:
    short = shorten(text, width)
    assert len(short) <= max(8, width)
    if short != text:
        before, after = short.split("…")[0], short.rpartition("…")[2]
        assert text.startswith(before)
        assert text.endswith(after)
        assert len(after) >= len(before)  # the file's name tells more than its first folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a long name: a minute of digits in one breath, and a short file."""
    folder = tmp_path_factory.mktemp("recordings") / ("folder" * 12)
    folder.mkdir()
    clips = [clip.samples for clip in compose_clips(24)]
    soundfile.write(folder / "long.wav", np.concatenate(clips), SAMPLE_RATE)
    soundfile.write(folder / "short.wav", clips[0], SAMPLE_RATE)
    return folder


@pytest.mark.parametrize("columns", [20, 80, 120])
def test_the_bar_fits_and_lines_are_whole(recordings: Path, columns: int) -> None:
    options = (*DEMO, "--print-colors", "--long-form", "sequential", "--without-timestamps")
    status, lines = run_on_terminal(columns, "transcribe", recordings, *options)
    assert status == 0
    bars = [line for line in lines if line.startswith("[") and "%" in line]
    assert bars
    assert [line for line in bars if len(line) > columns] == []
    assert any(line.startswith("[1/2]") for line in bars) or columns == 20
    assert any(line.startswith("[2") for line in bars)
    assert ("━" in "".join(bars)) == (columns >= 80)
    segments = [line for line in lines if "-->" in line]
    assert max(map(len, segments)) > 120
    assert all(re.match(r"\[\d\d:\d\d\.\d{3} --> ", line) for line in segments)
    table = lines[next(i for i, line in enumerate(lines) if line.endswith(" s of audio")) :]
    assert all("…" not in line for line in table)


def test_the_time_left_never_vanishes(recordings: Path) -> None:
    status, lines = run_on_terminal(100, "transcribe", recordings / "long.wav", *DEMO)
    assert status == 0
    told = [bool(re.search(r"% \d+:\d\d left", line)) for line in lines if " %" in line]
    assert told == sorted(told)
    assert told[-1]


def test_nothing_is_drawn_where_it_is_to_be_quiet(recordings: Path) -> None:
    short = recordings / "short.wav"
    _, lines = run_on_terminal(80, "transcribe", short, *DEMO, "--quiet")
    assert all("-->" in line for line in lines if line)
