"""`whisper-npu listen`: files, pipes and microphones to text, events, files and commands."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.cli.conftest import MAIN, Cli
from tests.support.digits import digits_of
from tests.support.places import ROOT
from tests.support.terminal import run_in_terminal
from whisper_npu_cli.cli.live import Commands, Terminal, TextLines
from whisper_npu_cli.longform.events import Settled, SpeechEnded, Tail
from whisper_npu_cli.transcript import Segment

SAMPLE = ROOT / "samples" / "nicolas-0-5-7-7-2-1-5-6-6.wav"
WORDS = digits_of(SAMPLE).split()
DEMO = ("--model", "demo", "--language", "en")
PLAYED = ("listen", "--input", SAMPLE, "--fast", *DEMO)


def settled(text: str) -> Settled:
    return Settled(0.0, 0.0, Segment(0, 0, 0.0, 0.0, text, (), 0.0, 0.0, 0.0, 0.0))


def read_events(stdout: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.mark.parametrize("policy", ["streaming", "utterance"])
def test_a_recording_is_typed_and_written(cli: Cli, tmp_path: Path, policy: str) -> None:
    result = cli(*PLAYED, "--policy", policy, "-f", "srt,txt", "-o", tmp_path)
    assert result.status == 0
    assert result.stdout.split() == WORDS
    assert f"{policy} (asked for)" in result.stderr
    assert (tmp_path / f"{SAMPLE.stem}.txt").read_text().split() == WORDS
    assert "-->" in (tmp_path / f"{SAMPLE.stem}.srt").read_text()


def test_json_is_an_event_a_line(cli: Cli) -> None:
    result = cli(*PLAYED, "--json", "--policy", "streaming", "--quiet")
    assert (result.status, result.stderr) == (0, "")
    events = read_events(result.stdout)
    first, *rest = events
    assert first["event"] == "listening"
    assert (first["policy"], first["encoder"][:8]) == ("streaming", "openvino")
    names = {event["event"] for event in rest}
    assert names == {"speech_started", "settled", "tail", "speech_ended"}
    texts = [event["segment"]["text"] for event in rest if event["event"] == "settled"]
    assert "".join(texts).split() == WORDS
    assert all(event["clock_s"] >= 0 and event["audio_s"] >= 0 for event in events)


def test_a_transcript_may_be_printed_at_the_end_instead(cli: Cli) -> None:
    result = cli(*PLAYED, "-o", "-", "-f", "srt")
    assert result.stdout.startswith("1\n00:00:")
    assert cli(*PLAYED, "-o", "-", "--json").status == 2


def test_raw_pcm_is_read_from_standard_input() -> None:
    samples, _ = soundfile.read(SAMPLE, dtype="int16")
    command = [sys.executable, "-c", MAIN, "listen", "--input", "-", *DEMO, "--quiet"]
    done = subprocess.run(command, input=samples.tobytes(), capture_output=True, check=True)
    assert done.stdout.decode().split() == WORDS
    assert done.stderr == b""


def test_a_command_is_given_each_settled_text(cli: Cli, tmp_path: Path) -> None:
    typed = tmp_path / "typed"
    result = cli(*PLAYED, "--policy", "streaming", "--exec", f"tee -a {typed}; echo said")
    assert typed.read_text().split() == WORDS
    assert not typed.read_text().startswith(" ")
    assert "said" not in result.stdout


def test_a_command_that_fails_is_told_once() -> None:
    notes: list[str] = []
    with Commands("exit 3", notes.append) as commands:
        for text in (" one", " two"):
            commands.add(text)
    assert notes == ["warning: --exec 'exit 3': exit status 3"]


def test_a_recording_that_is_missing_is_told_before_a_model_is_loaded(cli: Cli) -> None:
    result = cli("listen", "--input", "missing.wav", "--model", "missing")
    assert result.status == 1
    assert "missing.wav: no such file" in result.stderr


def test_fast_is_for_recordings(cli: Cli) -> None:
    result = cli("listen", "--fast")
    assert result.status == 2
    assert "--fast is for recordings" in result.stderr


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that come before the system's."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def put(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def test_devices_are_listed(cli: Cli, programs: Path) -> None:
    put(programs, "pw-record", "echo --raw")
    described = {"media.class": "Audio/Source", "node.name": "mic", "node.description": "A mic"}
    put(programs, "pw-dump", f"echo '{json.dumps([{'info': {'props': described}}])}'")
    assert cli("listen", "--list-devices").stdout == "mic  A mic\n"


def test_without_a_recorder_it_is_told_what_to_install(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = cli("listen", *DEMO)
    assert result.status == 1
    assert "hint: install one: apt install" in result.stderr


def test_ctrl_c_ends_a_microphone_and_writes(programs: Path, tmp_path: Path) -> None:
    samples, _ = soundfile.read(SAMPLE, dtype="int16")
    (tmp_path / "pcm").write_bytes(np.ascontiguousarray(samples).tobytes())
    put(
        programs,
        "pw-record",
        f"case $1 in --help) echo --raw;; *) cat {tmp_path}/pcm; exec sleep 99;; esac",
    )
    written = tmp_path / "talk.txt"
    command = [sys.executable, "-c", MAIN, "listen", *DEMO, "-o", str(written), "--json"]
    command += ["--policy", "streaming"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b'"settled"' in line:
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert written.read_text().split() == WORDS
    assert b"transcribing what has arrived" in errors


def test_a_microphone_that_fails_costs_nothing_that_was_said(
    cli: Cli, programs: Path, tmp_path: Path
) -> None:
    samples, _ = soundfile.read(SAMPLE, dtype="int16")
    (tmp_path / "pcm").write_bytes(np.ascontiguousarray(samples).tobytes())
    fail = f"cat {tmp_path}/pcm; echo unplugged >&2; exit 1"
    put(programs, "pw-record", f"case $1 in --help) echo --raw;; *) {fail};; esac")
    result = cli("listen", *DEMO, "--policy", "streaming", "-o", tmp_path / "talk.txt")
    assert result.status == 1
    assert "pw-record failed: unplugged" in result.stderr
    assert (tmp_path / "talk.txt").read_text().split() == WORDS


def test_a_terminal_shows_the_tail_on_the_line_and_keeps_what_is_settled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "16")
    monkeypatch.delenv("NO_COLOR", raising=False)
    view = Terminal()
    for event in (settled(" one two"), Tail(0.0, 0.0, " three four")):
        view.show(event)
    drawn = capsys.readouterr().out.split("\r\x1b[K")
    assert drawn[-1] == "one two\x1b[2m three f\x1b[0m"
    for event in (settled(" three four"), SpeechEnded(0.0, 0.0, 0.0)):
        view.show(event)
    drawn = capsys.readouterr().out.split("\r\x1b[K")
    assert [line for line in drawn if line.endswith("\n")] == ["one two three\n", "four\n"]


def test_lines_are_what_is_said_between_pauses(capsys: pytest.CaptureFixture[str]) -> None:
    view = TextLines()
    end = SpeechEnded(0.0, 0.0, 0.0)
    for event in (end, settled(" one"), settled(" two"), end, end, settled(" three"), end):
        view.show(event)
    assert capsys.readouterr().out == "one two\nthree\n"


def test_it_types_into_a_terminal() -> None:
    command = [sys.executable, "-c", MAIN, *map(str, PLAYED), "--quiet", "--policy", "streaming"]
    status, shown = run_in_terminal(command)
    assert status == 0
    assert " ".join(WORDS) in shown.replace("\r", "\n")
