"""whisper.cpp's stream by a script that reads its microphone and prints as it does."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tools.peers.stream import stream_whisper_cpp
from whisper_npu_cli.dims import SAMPLE_RATE

WHISPER_STREAM = f"""#!{sys.executable}
import os, signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit())
clear = chr(27) + "[2K" + chr(13)
redraw = clear + " " * 100 + clear
with open(os.environ["SDL_DISKAUDIOFILEIN"], "rb") as microphone:
    microphone.read(4 * 1000)
    print("[Start speaking]", flush=True)
    while not any(microphone.read(4 * 800)):
        pass
    for text in (" One [BLANK_AUDIO]" + redraw + " One, two.", " (noise)"):
        print(redraw + text, flush=True)
    while microphone.read(4 * 800):
        pass
"""


def test_lines_are_told_as_they_were_at_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.peers.stream.STEP_S", 0.1)
    binary = tmp_path / "build" / "bin" / "whisper-stream"
    binary.parent.mkdir(parents=True)
    binary.write_text(WHISPER_STREAM)
    binary.chmod(0o755)
    spoken = np.full(SAMPLE_RATE // 2, 0.1, np.float32)
    printed = stream_whisper_cpp(tmp_path, Path("model"), spoken, n_threads=1)
    assert [line.text for line in printed.lines] == ["One, two.", ""]
    assert printed.n_steps == 3
    assert printed.n_due == 9  # 0.5 s of speech, and silence for two lines
