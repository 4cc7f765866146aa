"""`docs/daily.md`: each of its commands does what it says, in a folder with what it names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from tests.support.places import ROOT, SAMPLES
from tests.support.terminal import MAIN

DAILY = (ROOT / "docs" / "daily.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in DAILY.splitlines() if line.startswith("    ")]
WRITTEN = {  # what a command that contains this writes
    "words.txt": ["words.txt"],
    "film.mkv": ["film.srt"],
    "-o transcripts": [f"transcripts/monday/{name}" for name in ("a.txt", "a.json", "b.txt")],
    "talk.json": ["talk.json"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("daily")
    first, second = (soundfile.read(path)[0] for path in sorted(SAMPLES.glob("*.wav"))[:2])
    rate = soundfile.info(min(SAMPLES.glob("*.wav"))).samplerate
    soundfile.write(folder / "talk.mp3", first, rate)
    n = max(first.size, second.size)
    both = np.zeros((n, 2))  # one after the other, as people talk
    both = np.concatenate([both, both])
    both[: first.size, 0], both[n : n + second.size, 1] = first, second
    soundfile.write(folder / "call.wav", both, rate)
    (folder / "interviews" / "monday").mkdir(parents=True)
    for name, samples in (("a", first), ("b", second)):
        soundfile.write(folder / "interviews" / "monday" / f"{name}.flac", samples, rate)
    _write_film(folder / "film.mkv", first, rate)
    (folder / "bin").mkdir()
    program = folder / "bin" / "whisper-npu"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, '{ROOT}')\n{MAIN}\n")
    program.chmod(0o755)
    return folder


def _write_film(path: Path, samples: np.ndarray, rate: int) -> None:  # type: ignore[type-arg]
    with av.open(path, "w") as film:
        stream = film.add_stream("pcm_s16le", rate=rate, layout="mono")
        codes = (samples * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(codes, format="s16", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            film.mux(packet)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_does_what_it_says(folder: Path, command: str) -> None:
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "WHISPER_NPU_MODEL": "demo",
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    expected = [path for part, paths in WRITTEN.items() if part in command for path in paths]
    assert all((folder / path).stat().st_size for path in expected)
    if not expected and "doctor" not in command:
        assert done.stdout


def test_the_words_have_their_places(folder: Path) -> None:
    """After the command that writes them, above."""
    document = json.loads((folder / "talk.json").read_text())
    assert document["segments"][0]["words"][0]["word"].strip() == "three"


def test_there_are_a_dozen_things_and_each_has_a_command() -> None:
    sections = DAILY.split("\n## ")[1:]
    assert len(sections) >= 12
    assert all("\n    whisper-npu" in s or "| whisper-npu" in s or "=true " in s for s in sections)
