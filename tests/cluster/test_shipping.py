"""Files that workers do not see reach them, whatever is lost, and their copies go."""

from __future__ import annotations

import tempfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

from tests.cli.conftest import Cli, cli
from tests.support.clusters import SETUP, hash_shipped, make_files, read_shipped, start_cluster
from tests.support.places import SAMPLES
from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.cluster import shipping
from whisper_npu_cli.cluster.fleet import Fleet
from whisper_npu_cli.cluster.settings import ClusterOptions
from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.options import TranscribeOptions

__all__ = ["cli"]
SHIPPED = ClusterOptions(cluster="127.0.0.1:1", ship=True)


def test_a_lost_worker_s_file_is_sent_to_another_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sizes = tmp_path / "long.wav", []
    path.write_bytes(np.random.default_rng(0).bytes((5 << 20) + 123))
    path.with_suffix(".lost").touch()
    read = shipping._read_piece

    def watch(path: str, offset: int, size: int) -> object:
        sizes.append(size)
        return read(path, offset, size)

    monkeypatch.setattr(shipping, "_read_piece", watch)
    with (
        start_cluster(processes=True) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        fleet = Fleet(client, SETUP, print, SHIPPED, hash_shipped)
        wanted = [(FileSource(path), None)]
        ((_, begin),) = fleet.transcribe_each(wanted, TranscribeOptions())
        assert begin().result.transcript.language == sha256(path.read_bytes()).hexdigest()
    assert not path.with_suffix(".lost").exists()
    assert len(sizes) == 3 + 7  # before the worker was lost, and then all, the empty end too
    assert max(sizes) == 1 << 20


def test_a_file_that_goes_or_changes_is_an_input_that_failed(
    client: Client, tmp_path: Path
) -> None:
    fleet = Fleet(client, SETUP, print, SHIPPED, read_shipped)
    reasons = {}
    for source, begin in fleet.transcribe_each(make_files(tmp_path, 3), TranscribeOptions()):
        try:
            reasons[Path(source.path).name] = str(begin().result.is_complete)
        except AssertionError:
            with pytest.raises(AudioError) as caught:
                begin().begin()
            reasons[Path(source.path).name] = str(caught.value).rpartition(": ")[2]
    assert reasons == {
        "000.wav": "No such file or directory",
        "001.wav": "changed while it was sent",
        "002.wav": "True",
    }


def test_the_text_is_that_of_files_that_are_seen(
    cli: Cli, cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, copies = tmp_path / "bad.wav", tmp_path / "copies"
    bad.write_bytes(b"RIFF no sound")
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    monkeypatch.setattr("whisper_npu_cli.cluster.tasks.can_read", lambda _: False)
    there = "--cluster", cluster.scheduler_address, "--ship"
    command = "transcribe", bad, *sorted(SAMPLES.glob("*.wav"))[:2], "--model", "demo", "--json"
    here, away = (cli(*command, "--device", "cpu", *more) for more in ((), there))
    assert away.status == here.status == 1
    for one, other in zip(away.document["results"], here.document["results"], strict=True):
        assert one.get("segments") == other.get("segments")
        assert one.get("error") == other.get("error")
    assert not list(copies.iterdir())
