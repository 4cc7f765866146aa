"""The decoding options of `transcribe`."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from tests.cli.conftest import Cli
from whisper_npu_cli.cli.decoding import clip_timestamps, count_or_none, number_or_none
from whisper_npu_cli.cli.transcribe import transcribe
from whisper_npu_cli.decoding.options import DecodingOptions
from whisper_npu_cli.errors import UsageError


def test_options_have_the_defaults_of_the_library() -> None:
    parameters = inspect.signature(transcribe).parameters
    for field in fields(DecodingOptions):
        assert parameters[field.name].default == field.default, field.name


def test_none_can_be_said() -> None:
    assert count_or_none("none") is None
    assert number_or_none("None") is None
    assert count_or_none("3") == 3
    assert number_or_none("-0.5") == -0.5


def test_clip_timestamps() -> None:
    assert clip_timestamps("0") == (0.0,)
    assert clip_timestamps("1.5,20,") == (1.5, 20.0)
    with pytest.raises(UsageError, match="clip timestamps from '1:30'"):
        clip_timestamps("1:30")


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (("--beam-size", "0"), "whole number from 1"),
        (("--patience", "x"), "neither a number nor none"),
        (("--patience", "2", "--beam-size", "none"), "patience needs a beam size"),
        (("--length-penalty", "2"), "from 0 to 1"),
        (("--clip-timestamps", "soon"), "clip timestamps"),
    ],
)
def test_usage_errors(cli: Cli, arguments: tuple[str, ...], phrase: str) -> None:
    result = cli("transcribe", "x.wav", "--model", "demo", *arguments)
    assert (result.status, result.stdout) == (2, "")
    assert phrase in " ".join(result.stderr.replace("│", " ").split())
