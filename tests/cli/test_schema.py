"""What `--json` prints is what `--json-schema` says, whatever became of the inputs."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from jsonschema import Draft202012Validator

from tests.cli.conftest import Cli
from tests.support.digits import compose_recording
from tests.support.places import SAMPLES
from whisper_npu_cli.dims import SAMPLE_RATE

SAMPLE = min(SAMPLES.glob("*.wav"))


@pytest.fixture
def validator(cli: Cli) -> Draft202012Validator:
    printed = cli("transcribe", "--json-schema")
    assert (printed.status, printed.stderr) == (0, "")
    schema = json.loads(printed.stdout)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--word-timestamps", "--multilingual"),
        ("--device", "sim"),  # its windows have a proof
        ("--clip-timestamps", "100,200"),  # beyond the end: nothing is decoded
    ],
)
def test_a_transcript(cli: Cli, validator: Draft202012Validator, options: tuple[str, ...]) -> None:
    validator.validate(cli("transcribe", SAMPLE, "--model", "demo", "--json", *options).document)


def test_a_long_file_with_text_that_is_missing(
    cli: Cli, validator: Draft202012Validator, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "long.wav", compose_recording(70.0, 3.0), SAMPLE_RATE)
    document = cli(
        *("transcribe", tmp_path / "long.wav", "--model", "demo", "--json"),
        *("--no-speech-threshold", "0", "--logprob-threshold", "0"),  # all is taken for silence
    ).document
    validator.validate(document)
    assert document["results"][0]["long_form"] == "batched"
    assert document["results"][0]["uncovered"]


def test_inputs_that_fail_and_inputs_that_are_skipped(
    cli: Cli, validator: Draft202012Validator, tmp_path: Path
) -> None:
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "nan.wav", np.full(16_000, np.nan), SAMPLE_RATE, subtype="FLOAT")
    inputs = (SAMPLE, tmp_path / "empty.wav", tmp_path / "nan.wav")
    options = ("--model", "demo", "--json", "-f", "txt", "-o", tmp_path / "out")
    for extra in ((), ("--resume",)):
        document = cli("transcribe", *inputs, *options, *extra).document
        validator.validate(document)
        assert ["error" in result for result in document["results"]] == [False, True, True]
    assert document["results"][0] == {"path": str(SAMPLE), "complete": True, "skipped": True}


def test_nothing_to_transcribe(cli: Cli, validator: Draft202012Validator) -> None:
    document = cli("transcribe", "none.wav", "--model", "demo", "--json").document
    validator.validate(document)
    assert document["device"] is document["load_s"] is None


def test_the_schema_is_strict(cli: Cli, validator: Draft202012Validator) -> None:
    document = cli("transcribe", SAMPLE, "--model", "demo", "--json").document

    def spoilt(change: Any) -> dict[str, Any]:
        copy = deepcopy(document)
        change(copy)
        return copy

    for change in (
        lambda d: d.pop("load_s"),
        lambda d: d.update(schema_version="2"),
        lambda d: d["results"][0].update(invented=1),
        lambda d: d["results"][0]["segments"][0].pop("tokens"),
        lambda d: d["results"][0]["segments"][0].update(start="0:00"),
        lambda d: d["results"][0].update(uncovered=[[1.0]]),
        lambda d: d["results"][0].update(long_form="auto"),
    ):
        assert not validator.is_valid(spoilt(change))
