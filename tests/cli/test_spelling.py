from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.places import ROOT
from whisper_npu_cli.cli.spelling import translate

SAMPLE = min((ROOT / "samples").glob("*.wav"))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("--word_timestamps True --fp16 False", "--word-timestamps"),
        (
            "--word_timestamps=True --highlight_words False",
            "--word-timestamps --no-highlight-words",
        ),
        ("--condition_on_previous_text False", "--no-condition-on-previous-text"),
        ("--condition_on_previous_text True --verbose false", "--condition-on-previous-text"),
        ("--word-timestamps true.wav", "--word-timestamps true.wav"),
        ("--initial_prompt True --output_dir False", "--initial_prompt True --output_dir False"),
        ("a_b.wav --beam_size None", "a_b.wav --beam_size None"),
        ("--threads 0 --language None --threads 2", "--threads 2"),
        ("x --model_dir d --model tiny.en", "x --model d/tiny.en.pt"),
        ("x --model_dir=d -q -- --model", "x --model d/base.pt -q -- --model"),
    ],
)
def test_flags_with_a_value_are_flags(theirs: str, ours: str) -> None:
    assert list(translate(theirs.split())) == ours.split()


def test_a_command_of_openai_whisper_works(cli: Cli, tmp_path: Path) -> None:
    result = cli(
        *("transcribe", SAMPLE, "--model", "demo", "--word_timestamps", "True", "--fp16", "False"),
        *("--output_format", "json", "--output_dir", tmp_path, "--verbose", "False"),
        *("--beam_size", "None", "--condition_on_previous_text=False"),
    )
    assert result.status == 0
    written = json.loads((tmp_path / f"{SAMPLE.stem}.json").read_text())
    assert written["segments"][0]["words"]
