"""A recording in parts has the text of one machine, to the word, whatever part is done first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from tests.cli.conftest import Cli, cli
from tests.support.long_files import compose_long_file
from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.cluster.settings import ClusterOptions
from whisper_npu_cli.cluster.split import Split
from whisper_npu_cli.cluster.tasks import Finished, Outcome, Task
from whisper_npu_cli.options import DecodingOptions, EngineOptions, TranscribeOptions, WordOptions
from whisper_npu_cli.pipeline import Transcriber, Transcription
from whisper_npu_cli.transcript import Result

__all__ = ["cli"]
SPLIT = ClusterOptions(cluster="127.0.0.1:1", split_minutes=1)
DEMO = ("--model", "demo", "--device", "cpu", "--batch-size", "2")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three minutes of digits."""
    path = tmp_path_factory.mktemp("split") / "long.wav"
    compose_long_file(path, 3)
    return path


@pytest.fixture(scope="module")
def transcriber() -> Iterator[Transcriber]:
    with Transcriber("demo", EngineOptions(device="cpu"), offline=True) as loaded:
        yield loaded


def strip(result: Result) -> Result:
    """Return it without times of the machine."""
    return replace(result, timings=None)


@pytest.mark.parametrize(
    "options",
    [
        TranscribeOptions(batch_size=2, words=WordOptions()),
        TranscribeOptions(
            batch_size=2,
            clip_timestamps=(3.0, 100.0, 110.0),
            decoding=DecodingOptions(prefix=" one", temperature=0.4),
        ),
    ],
)
def test_parts_are_joined_and_the_first_ones_gone_on_from(
    recording: Path, transcriber: Transcriber, options: TranscribeOptions
) -> None:
    source = FileSource(recording)
    whole, cutting = (transcriber.transcribe(FileSource(recording), options) for _ in range(2))
    list(whole)
    assert isinstance(cutting, Transcription)
    info, cut = cutting.begin(), cutting.cut(60)
    assert cut is not None
    assert len(cut.parts) >= 3
    task = Task.describe(source, options, None, SPLIT, only_language=False)
    split = Split(source, task, Outcome("", info=info, result=cutting.result, cut=cut), cut)
    *others, last = split.tasks
    first, *rest = others
    for one in (last, first):
        assert one.part is not None
        split.add(one, transcriber.transcribe_part(source, options, one.part))
    partly = Finished(split.join())
    assert not partly.result.is_complete
    goes_on = transcriber.transcribe(FileSource(recording), options, partly.checkpoint)
    assert 0 < len(partly.result.transcript.segments) < len(whole.result.transcript.segments)
    list(goes_on)
    assert goes_on.result.transcript == whole.result.transcript
    for one in reversed(rest):
        assert one.part is not None
        split.add(one, transcriber.transcribe_part(source, options, one.part))
    assert strip(Finished(split.join()).result) == strip(whole.result)


def pick(document: dict[str, Any]) -> dict[str, Any]:
    (result,) = document["results"]
    return {name: value for name, value in result.items() if name != "timings"}


def test_the_command_gives_what_one_machine_does(
    cli: Cli, cluster: LocalCluster, recording: Path, tmp_path: Path
) -> None:
    there = "--cluster", cluster.scheduler_address, "--split-minutes", "1"
    here, away = (
        cli("transcribe", recording, *DEMO, "--json", "-f", "srt", "-o", tmp_path / name, *more)
        for name, more in (("here", ()), ("away", there))
    )
    assert here.status == away.status == 0
    assert pick(away.document) == pick(here.document)
    written = [(tmp_path / name / "long.srt").read_text() for name in ("here", "away")]
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--long-form", "sequential"), "is for batched mode"),
        (("--word-timestamps", "--hallucination-silence-threshold", "2"), "is for batched mode"),
        (("--speakers", "channels"), "--speakers exclude each other"),
        (("--follow", "--cluster", "127.0.0.1:1", "--ship"), "--follow exclude each other"),
    ],
)
def test_what_cannot_be_cut_is_refused(
    cli: Cli, recording: Path, more: tuple[str, ...], reason: str
) -> None:
    result = cli(
        "transcribe", recording, *DEMO, "--cluster", "local", "--split-minutes", "1", *more
    )
    assert result.status == 2
    assert reason in result.stderr
