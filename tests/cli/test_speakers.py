"""`whisper-npu transcribe --speakers channels`: each channel alone, merged, and who says it."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from jsonschema import Draft202012Validator

from tests.cli.conftest import Cli
from tests.support.digits import WORDS, digits_of
from tests.support.places import SAMPLES
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.writers.document import make_json_schema

SPEAKERS = ("--model", "demo", "--speakers", "channels")


@dataclass(frozen=True)
class Call:
    """A two-channel recording, and the digits that are said on each channel."""

    path: Path
    left: str
    right: str


@pytest.fixture
def call(tmp_path: Path) -> Call:
    paths = sorted(SAMPLES.glob("*.wav"))[:2]
    left, right = (soundfile.read(path, dtype="float32")[0] for path in paths)
    both = np.zeros((max(len(left), len(right)), 2), np.float32)
    both[: len(left), 0], both[: len(right), 1] = left, right
    rate = soundfile.info(paths[0]).samplerate
    soundfile.write(tmp_path / "call.wav", both, rate)
    return Call(tmp_path / "call.wav", *(digits_of(path) for path in paths))


def digits_after(label: str, text: str) -> str:
    """Return the digits of the lines that have a label, after it."""
    said = [line.partition(label)[2] for line in text.splitlines() if label in line]
    return " ".join(word for word in " ".join(said).split() if word in WORDS)


def test_each_line_tells_who_says_it(cli: Cli, call: Call) -> None:
    result = cli("transcribe", call.path, *SPEAKERS)
    assert result.status == 0
    assert digits_after("[left]: ", result.stdout) == call.left
    assert digits_after("[right]: ", result.stdout) == call.right
    assert result.stderr.count("total") == 1  # one table for both


def test_the_document_tells_who_says_it(cli: Cli, call: Call) -> None:
    names = ("--channel-names", "agent, customer", "--word-timestamps", "--json")
    document = cli("transcribe", call.path, *SPEAKERS, *names).document
    Draft202012Validator(make_json_schema()).validate(document)
    (result,) = document["results"]
    assert result["duration_s"] == pytest.approx(soundfile.info(call.path).duration)
    segments = result["segments"]
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    assert [s["start"] for s in segments] == sorted(s["start"] for s in segments)
    for name, digits in (("agent", call.left), ("customer", call.right)):
        own = [segment for segment in segments if segment["speaker"] == name]
        assert "".join(segment["text"] for segment in own).split() == digits.split()
        assert {word["speaker"] for segment in own for word in segment["words"]} == {name}
    assert {window["speaker"] for window in result["windows"]} == {"agent", "customer"}
    rows = {row["stage"]: row["calls"] for row in result["timings"]}
    assert rows["encode"] == len(result["windows"]) == 2


@pytest.mark.parametrize("long_form", ["sequential", "batched"])
def test_files_tell_who_says_it(cli: Cli, call: Call, tmp_path: Path, long_form: str) -> None:
    out = tmp_path / "out"
    result = cli("transcribe", call.path, *SPEAKERS, "--long-form", long_form, "-o", out)
    assert result.status == 0
    labels = {"txt": "[{}]: ", "srt": "[{}]: ", "vtt": "<v {}>", "lrc": "]{}: ", "md": " {}** "}
    for suffix, label in labels.items():
        text = (out / f"call.{suffix}").read_text()
        assert digits_after(label.format("left"), text) == call.left, suffix
        assert digits_after(label.format("right"), text) == call.right, suffix
    rows = [line.split("\t") for line in (out / "call.tsv").read_text().splitlines()]
    assert {row[3] for row in rows[1:]} == {"left", "right"}
    segments = json.loads((out / "call.json").read_text())["segments"]
    assert {segment["speaker"] for segment in segments} == {"left", "right"}


def test_standard_input_and_resume(
    cli: Cli, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(call.path.read_bytes())))
    assert digits_after("[right]: ", cli("transcribe", "-", *SPEAKERS).stdout) == call.right
    files = ("-f", "txt", "-o", tmp_path / "out", "--resume")
    assert cli("transcribe", call.path, *SPEAKERS, *files).status == 0
    assert "complete, skipped" in cli("transcribe", call.path, *SPEAKERS, *files).stderr


def test_without_the_option_nobody_is_named(cli: Cli, call: Call) -> None:
    result = cli("transcribe", call.path, "--model", "demo", "--json")
    assert "speaker" not in result.stdout


def test_a_recording_without_two_signals_fails_alone(cli: Cli, call: Call, tmp_path: Path) -> None:
    mono = soundfile.read(call.path, dtype="float32")[0][:, 0]
    soundfile.write(tmp_path / "mono.wav", mono, SAMPLE_RATE)
    soundfile.write(tmp_path / "stereo.wav", np.stack([mono, 0.5 * mono], axis=1), SAMPLE_RATE)
    result = cli("transcribe", tmp_path, *SPEAKERS)
    assert result.status == 1
    assert digits_after("[left]: ", result.stdout) == call.left
    assert "mono.wav: one channel, where --speakers needs two" in result.stderr
    assert "stereo.wav: its two channels are one signal: correlation 1.000" in result.stderr
    assert "mono.wav" not in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--channel-names", "a,b"], "--channel-names needs --speakers"),
        (["--speakers", "channels", "--channel-names", "a"], "two that differ, not 'a'"),
        (["--speakers", "channels", "--channel-names", "a,b,c"], "two that differ"),
        (["--speakers", "channels", "--channel-names", "a, "], "two that differ"),
        (["--speakers", "channels", "--channel-names", "a,a"], "two that differ"),
        (["--speakers", "people"], "people"),
    ],
)
def test_options_that_mean_nothing_are_refused(cli: Cli, options: list[str], message: str) -> None:
    result = cli("transcribe", "call.wav", *options)
    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr
