"""Inputs out to workers and outcomes back: all of them, few at a time, whatever is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from time import sleep

import dask
import pytest
from distributed import Client

from tests.support.clusters import (
    N_PARTS,
    SETUP,
    answer,
    answer_slowly,
    cut_slowly,
    die_of_the_third,
    fail_on_devices,
    fail_on_one_device,
    make_files,
    start_cluster,
)
from whisper_npu_cli.audio.find import Input
from whisper_npu_cli.cluster.fleet import Fleet, Transcribe
from whisper_npu_cli.cluster.settings import ClusterOptions
from whisper_npu_cli.cluster.tasks import Setup
from whisper_npu_cli.errors import AudioError, ClusterError, DeviceError
from whisper_npu_cli.options import EngineOptions, TranscribeOptions
from whisper_npu_cli.transcript import Progress

OPTIONS = TranscribeOptions()
SCHEDULER = ClusterOptions(cluster="127.0.0.1:1")
SPLIT = ClusterOptions(cluster="127.0.0.1:1", split_minutes=1)


class Driven:
    """A fleet with a stand-in, and what it told."""

    def __init__(
        self, client: Client, transcribe: Transcribe, options: ClusterOptions = SCHEDULER
    ) -> None:
        self.notices: list[str] = []
        self.fleet = Fleet(client, SETUP, self.notices.append, options, transcribe)

    def finish(self, wanted: Iterator[tuple[Input, Progress | None]]) -> dict[str, str]:
        """Return what is wrong with each input, by its name; nothing with most."""
        found = {}
        for source, begin in self.fleet.transcribe_each(wanted, OPTIONS):
            job, name = begin(), Path(source.path).name
            assert name not in found
            try:
                found[name] = "" if job.result.is_complete else "partial"
            except AssertionError:
                with pytest.raises(AudioError) as caught:
                    job.begin()
                found[name] = str(caught.value)
        return found


def test_every_input_comes_back_once_and_few_are_away(client: Client, tmp_path: Path) -> None:
    driven, n_taken, n_most = Driven(client, answer), 0, 0

    def take() -> Iterator[tuple[Input, Progress | None]]:
        nonlocal n_taken
        for one in make_files(tmp_path, 60):
            n_taken += 1
            yield one

    names = []
    for source, begin in driven.fleet.transcribe_each(take(), OPTIONS):
        n_most = max(n_most, n_taken - len(names))
        names.append(source.name)
        assert begin().result.transcript.duration_s == 1
    assert len(names) == len(set(names)) == 60
    assert n_most <= 6  # three for each of two workers
    assert driven.fleet.tally.audio_s == 60


def test_a_result_that_cannot_be_had_at_once_is_asked_for_again(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather, errors = client.scheduler.gather, [ConnectionResetError("in <TCP>")]

    async def fail_once(**arguments: object) -> object:
        if errors:
            raise errors.pop()
        return await gather(**arguments)

    monkeypatch.setattr(client.scheduler, "gather", fail_once, raising=False)
    found = Driven(client, answer).finish(make_files(tmp_path, 8))
    assert not errors
    assert len(found) == 8
    assert set(found.values()) == {""}


def test_an_input_that_is_missing_here_is_not_sent(client: Client, tmp_path: Path) -> None:
    wanted = list(make_files(tmp_path, 3))
    (tmp_path / "001.wav").unlink()
    found = Driven(client, answer).finish(iter(wanted))
    assert found.pop("001.wav").endswith("001.wav: no such file")
    assert found == {"000.wav": "", "002.wav": ""}


def test_stopping_gives_up_what_was_not_begun(client: Client, tmp_path: Path) -> None:
    driven, names = Driven(client, answer_slowly), []
    for source, _ in driven.fleet.transcribe_each(make_files(tmp_path, 50), OPTIONS):
        names.append(source.name)
        if len(names) == 2:
            driven.fleet.stop()
    assert 2 <= len(names) <= 8  # at most those that two workers had begun when it came


def test_a_device_that_fails_leaves_its_files_to_others(client: Client, tmp_path: Path) -> None:
    driven = Driven(client, fail_on_one_device)
    assert set(driven.finish(make_files(tmp_path, 10)).values()) == {""}
    assert [text.partition(": ")[2] for text in driven.notices] == ["the array hangs"]
    assert driven.fleet.device is not None
    assert driven.fleet.device.incidents == driven.notices


def test_the_last_device_that_fails_ends_the_run(client: Client, tmp_path: Path) -> None:
    fleet = Driven(client, fail_on_devices).fleet
    (_, begin), *_ = fleet.transcribe_each(make_files(tmp_path, 1), OPTIONS)
    with pytest.raises(DeviceError, match="hangs"):
        begin().begin()


def test_lost_workers_cost_the_file_that_ends_them_alone(tmp_path: Path) -> None:
    with (
        start_cluster(processes=True) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        found = Driven(client, die_of_the_third).finish(make_files(tmp_path, 12))
    assert "002.wav: 4 workers were lost while they had it" in found.pop("002.wav")
    assert "003.wav: a worker failed: RuntimeError: a bug" in found.pop("003.wav")
    assert len(found) == 10
    assert set(found.values()) == {""}


def test_the_end_of_the_scheduler_is_told(tmp_path: Path) -> None:
    cluster = start_cluster()
    with Client(cluster, set_as_default=False, timeout=1) as client:
        fleet = Driven(client, answer_slowly).fleet
        each = fleet.transcribe_each(make_files(tmp_path, 50), OPTIONS)
        next(each)
        cluster.close()
        with pytest.raises(ClusterError, match="is lost") as caught:
            list(each)
    assert "--resume" in str(caught.value.hint)


def test_a_recording_in_parts_comes_back_once(client: Client, tmp_path: Path) -> None:
    driven = Driven(client, cut_slowly, SPLIT)
    found = driven.finish(make_files(tmp_path, 4))
    assert "001.wav: is damaged" in found.pop("001.wav")
    assert found == {"000.wav": "", "002.wav": "", "003.wav": ""}
    # The parts of one, two files, and those parts of the other that were done before one failed
    assert N_PARTS + 2 <= driven.fleet.tally.audio_s < 2 * N_PARTS + 2
    assert driven.fleet.tally.n_partly == 0
    assert not driven.notices


def test_stopping_keeps_the_first_parts_that_are_done(client: Client, tmp_path: Path) -> None:
    driven, (file, *_) = Driven(client, cut_slowly, SPLIT), make_files(tmp_path, 1)
    stopping = Thread(target=stop_after_parts, args=(driven.fleet,))
    stopping.start()
    ((source, begin),) = driven.fleet.transcribe_each([file], OPTIONS)
    stopping.join()
    job = begin()
    assert source is file[0]
    assert not job.result.is_complete
    assert job.checkpoint is not None
    n_done = job.checkpoint.end_frame // 100
    assert 2 <= n_done < N_PARTS
    assert job.progress == n_done / N_PARTS
    assert not list(job)  # they are in the checkpoint


def stop_after_parts(fleet: Fleet) -> None:
    while fleet.tally.n_partly < 3 / N_PARTS:
        sleep(0.01)
    fleet.stop()


def test_that_no_worker_is_left_is_told_once(tmp_path: Path) -> None:
    # The scheduler may ask a worker that has just gone for a result: by default for 30 s
    is_quick = dask.config.set({"distributed.comm.timeouts.connect": "2s"})
    with is_quick, start_cluster() as cluster, Client(cluster, set_as_default=False) as client:
        notices = []

        def notice(text: str) -> None:
            notices.append(text)
            cluster.scale(1)

        fleet = Fleet(client, SETUP, notice, SCHEDULER, answer_slowly)
        each = fleet.transcribe_each(make_files(tmp_path, 12), OPTIONS)
        next(each)
        cluster.scale(0)
        assert len(list(each)) == 11
    assert notices == [f"waiting for workers at {fleet.address}"]
    assert fleet.tally.workers == "1 worker"


def test_workers_that_compute_otherwise_are_refused(client: Client) -> None:
    here = Setup.describe("demo", EngineOptions(), offline=True)
    Fleet(client, here, print, SCHEDULER).check()
    older = replace(here, versions={**here.versions, "openvino": "2020.1"})
    with pytest.raises(ClusterError, match=r"worker tcp://.* openvino is .* there and 2020\.1 he"):
        Fleet(client, older, print, SCHEDULER).check()
    other = replace(here, fingerprint="0" * 64)
    with pytest.raises(ClusterError, match=r"the model demo is \w{12} there and 000000000000 her"):
        Fleet(client, other, print, SCHEDULER).check()
