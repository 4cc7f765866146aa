"""The command on a cluster is the command without: text, order, files, exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from tests.cli.conftest import Cli, cli
from tests.support.places import SAMPLES

__all__ = ["cli"]
DEMO = ("--model", "demo", "--device", "cpu")
SAME = ("path", "text", "segments", "language", "complete", "error", "hint", "duration_s")


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """Recordings, one that is damaged, and one that is not there."""
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF no sound")
    return [bad, *sorted(SAMPLES.glob("*.wav"))[:3], tmp_path / "absent.wav"]


@pytest.fixture
def there(cluster: LocalCluster) -> tuple[str, str]:
    return "--cluster", cluster.scheduler_address


def pick(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: one.get(name) for name in SAME} for one in document["results"]]


def test_the_json_is_that_without_a_cluster(
    cli: Cli, inputs: list[Path], there: tuple[str, str]
) -> None:
    here, away = (cli("transcribe", *inputs, *DEMO, "--json", *more) for more in ((), there))
    assert away.status == here.status == 1
    assert pick(away.document) == pick(here.document)
    assert away.document["device"]["name"] == "cpu"
    assert "2 workers at tcp://127.0.0.1" in away.stderr
    assert "failed: 2 of 5 inputs" in away.stderr


@pytest.mark.parametrize("more", [(), ("--text",), ("--detect-language",), ("-o", "-")])
def test_stdout_is_that_without_a_cluster(
    cli: Cli, inputs: list[Path], there: tuple[str, str], more: tuple[str, ...]
) -> None:
    here, away = (cli("transcribe", *inputs, *DEMO, *more, *place) for place in ((), there))
    assert (away.status, away.stdout) == (here.status, here.stdout)


def test_files_are_those_without_and_resume_goes_on(
    cli: Cli, inputs: list[Path], there: tuple[str, str], tmp_path: Path
) -> None:
    folders = tmp_path / "here", tmp_path / "away"
    good = inputs[1:4]
    for folder, place in zip(folders, ((), there), strict=True):
        assert cli("transcribe", *good, *DEMO, "-f", "srt", "-o", folder, *place).status == 0
    written = [{path.name: path.read_text() for path in sorted(f.iterdir())} for f in folders]
    assert written[0] == written[1]
    (folders[1] / next(iter(written[1]))).unlink()
    resumed = cli("transcribe", *good, *DEMO, "-f", "srt", "-o", folders[1], "--resume", *there)
    assert resumed.status == 0
    assert resumed.stderr.count("complete, skipped") == 2
    assert {path.name: path.read_text() for path in folders[1].iterdir()} == written[0]


def test_a_cluster_of_this_machine(cli: Cli) -> None:
    samples = sorted(SAMPLES.glob("*.wav"))[:2]
    here, away = (
        cli("transcribe", *samples, *DEMO, "--json", *more) for more in ((), ("--cluster", "local"))
    )
    assert away.status == 0
    assert pick(away.document) == pick(here.document)


def test_streams_are_refused_one_by_one(cli: Cli, inputs: list[Path], there: Any) -> None:
    result = cli("transcribe", "-", inputs[1], *DEMO, *there)
    assert result.status == 1
    assert "standard input: a stream cannot be sent to a cluster" in result.stderr


def test_the_extra_is_named_where_it_is_missing(
    cli: Cli, inputs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whisper_npu_cli.cli.transcribe.find_spec", lambda _: None)
    result = cli("transcribe", inputs[1], *DEMO, "--cluster", "local")
    assert result.status == 2
    assert "hint: pip install 'whisper-npu-cli[cluster]'" in result.stderr


def test_nobody_listens(cli: Cli, inputs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whisper_npu_cli.cluster.connection._CONNECT_S", 0.5)
    result = cli("transcribe", inputs[1], *DEMO, "--cluster", "127.0.0.1:1")
    assert result.status == 1
    assert "error: no scheduler at tcp://127.0.0.1:1" in result.stderr


def test_certificates_are_asked_for(cli: Cli, inputs: list[Path]) -> None:
    result = cli("transcribe", inputs[1], *DEMO, "--cluster", "tls://127.0.0.1:1")
    assert result.status == 1
    assert "hint: name them by --cluster-tls" in result.stderr


CHURN = """
import resource
import numpy as np
from whisper_npu_cli.cluster.worker import _keep_freed_memory
_keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    np.ones(1 << 18)  # 2 MB, as the arrays of the mel
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_a_worker_keeps_the_memory_that_it_frees() -> None:
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}  # Dask's nanny's
    done = subprocess.run(
        [sys.executable, "-c", CHURN], env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 10_000  # of 102,400 pages that are asked for
