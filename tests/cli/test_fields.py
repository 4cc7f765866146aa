"""Every option of the library is one of the command line, with the same default and bounds."""

from __future__ import annotations

from inspect import signature
from typing import Annotated

import pytest
import typer

from tests.cli.conftest import Cli
from whisper_npu_cli.cli.fields import (
    Only,
    build,
    find_leaves,
    from_fields,
    read_count,
    read_number,
    read_numbers,
)
from whisper_npu_cli.cli.transcribe import transcribe
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.options import EngineOptions, SubtitleLayout, TranscribeOptions, WordOptions


@pytest.mark.parametrize("group", [TranscribeOptions, SubtitleLayout, EngineOptions])
def test_what_nobody_gives_is_the_librarys_default(
    group: type[TranscribeOptions | SubtitleLayout | EngineOptions],
) -> None:
    parameters = signature(transcribe).parameters
    defaults = {leaf.name: parameters[leaf.name].default for leaf in find_leaves(group)}
    assert build(group, defaults) == group()


def test_a_group_that_may_be_left_out_has_a_switch() -> None:
    values = {leaf.name: leaf.default for leaf in find_leaves(TranscribeOptions)}
    values |= {"word_timestamps": True, "append_punctuations": "."}
    assert build(TranscribeOptions, values).words == WordOptions(append_punctuations=".")
    values |= {"word_timestamps": False}
    with pytest.raises(UsageError, match="--append-punctuations needs --word-timestamps"):
        build(TranscribeOptions, values)


def test_a_command_may_take_some_fields_of_a_group() -> None:
    taken = []

    @from_fields
    def command(name: str, engine: Annotated[EngineOptions, Only("n_threads")]) -> None:
        """Do it."""
        taken.append((name, engine))

    assert list(signature(command).parameters) == ["name", "n_threads"]
    command(name="it", n_threads=1)
    assert taken == [("it", EngineOptions(n_threads=1))]


def test_none_can_be_said() -> None:
    assert read_count("none") is None
    assert read_number("None") is None
    assert read_count("3") == 3
    assert read_number("-0.5") == -0.5


def test_numbers_have_commas_between() -> None:
    assert read_numbers("0") == (0.0,)
    assert read_numbers("1.5,20,") == (1.5, 20.0)
    with pytest.raises(typer.BadParameter, match="'1:30' is not numbers"):
        read_numbers("1:30")


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (("--beam-size", "0"), "the beam size must be from 1 to 100, not 0"),
        (("--beam-size", "many"), "neither a whole number nor none"),
        (("--batch-size", "0"), "the batch size must be at least 1"),
        (("--patience", "x"), "neither a number nor none"),
        (("--patience", "2", "--beam-size", "none"), "patience needs a beam size"),
        (("--length-penalty", "2"), "from 0 to 1"),
        (("--clip-timestamps", "soon"), "'soon' is not numbers"),
        (("--prepend-punctuations", "("), "needs --word-timestamps"),
        (("--exact",), "--exact has no effect with --device auto"),
        (
            ("--device", "npu", "--precision", "f32"),
            "--precision has no effect with --device npu",
        ),
    ],
)
def test_usage_errors(cli: Cli, arguments: tuple[str, ...], phrase: str) -> None:
    result = cli("transcribe", "x.wav", "--model", "demo", *arguments)
    assert (result.status, result.stdout) == (2, "")
    assert phrase in " ".join(result.stderr.replace("│", " ").split())
