"""A minute or two of the parts whose trials are short; `make torture` tries for half an hour."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.places import SAMPLES
from tools.recordings.mutants import make_sound
from tools.torture import faults, inputs, texts, untrusted
from tools.torture.campaign import Campaign, Row
from tools.torture.command import Home, start
from tools.torture.forking import Nursery
from tools.torture.page import Chapter, compose
from tools.torture.shim import Fault, build_shim, read_counts

SEED = 22
SAMPLE = SAMPLES / "lucas-1-6-1-8-0.wav"


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    """Of some seconds."""
    return Campaign(12.0, SEED, tmp_path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes]]:
    """Small recordings of every kind."""
    return [*make_sound(tmp_path_factory.mktemp("sound"))]


def test_damaged_recordings_are_read_or_refused(
    campaign: Campaign, sound: list[tuple[str, bytes]]
) -> None:
    row = inputs.read_many(campaign, sound)
    assert not row.losses
    assert row.tried == row.right + row.refused > 0


def test_damaged_files_are_parsed_or_refused(campaign: Campaign) -> None:
    rows = list(untrusted.damage_all(campaign, []))
    assert not [loss for row in rows for loss in row.losses]
    assert sum(row.refused for row in rows) > sum(row.tried for row in rows) / 8  # it matters


@pytest.mark.parametrize("fuzz", [texts.write_all, texts.give_options])
def test_hostile_texts_are_written_and_hostile_options_told(
    campaign: Campaign, fuzz: Callable[[Campaign], Row]
) -> None:
    row = fuzz(campaign.share(0.25))
    assert not row.losses
    assert row.tried == row.right + row.refused > 0


def test_a_forked_command_is_the_command(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with Nursery(home) as nursery:
        first = nursery.start(["transcribe", SAMPLE, "--model", "demo", "--text"]).finish()
        again = nursery.start(["transcribe", "none.wav", "--model", "demo"]).finish()
    assert (first.status, first.stdout.split()) == (0, ["one", "six", "one", "eight", "zero"])
    assert again.status == 1
    assert len(again.errors) == 1
    assert not [*home.list_leftovers()]


def test_a_part_ends_at_its_aim(campaign: Campaign) -> None:
    numbers = [[*campaign.numbers(2, worker, 2, aim=5)] for worker in range(2)]
    assert numbers == [[2_000_000, 2_000_002, 2_000_004], [2_000_001, 2_000_003]]


def test_a_trial_is_the_same_by_its_number(
    campaign: Campaign, sound: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    first, again = (
        inputs.write_mutant(campaign, sound, 7, campaign.make_folder(name)).read_bytes()
        for name in ("first", "again")
    )
    assert first == again
    alone = Campaign(0.0, SEED, tmp_path, only=3_000_001)
    assert [*alone.numbers(kind=3)] == [*alone.each(3, 5)] == [3_000_001]
    assert [*alone.numbers(kind=2)] == [*alone.each(2, 5)] == []


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that lets calls fail."""
    built = build_shim(tmp_path_factory.mktemp("shim"))
    if built is None:
        pytest.skip("there is no compiler called cc")
    return built


def run_with(fault: Fault, shim: Path, folder: Path) -> tuple[int, list[str], set[str], int]:
    """Return status, errors, names of outputs, and how often the call was made."""
    home = Home(folder)
    command = ["transcribe", SAMPLE, "--model", "demo", "-f", "txt,srt", "-o", home.out]
    running = start(home, command, more={"LD_PRELOAD": str(shim)})
    fault.arm(home.flag)
    ran = running.finish()
    assert not [*ran.list_faults(), *running.list_survivors()]
    written = {path.name for path in home.out.iterdir()} if home.out.exists() else set()
    return ran.status, ran.errors, written, read_counts(home.flag)[fault.call]


def test_a_failing_rename_costs_a_file_and_is_told(shim: Path, tmp_path: Path) -> None:
    fault = Fault("rename", 1, errno.ENOSPC, is_lasting=True)
    status, errors, written, count = run_with(fault, shim, tmp_path)
    assert count >= 1
    assert (status, written) == (1, set())
    assert len(errors) == 1
    assert "No space left on device" in errors[0]


@pytest.mark.parametrize("calls", [("rename", "mkdir", "unlink", "process"), ("write",)])
def test_each_call_fails_in_turn(calls: tuple[str, ...], campaign: Campaign, shim: Path) -> None:
    rows = faults.fail_each(replace(campaign, seconds=600.0), shim, calls)  # it ends at its aims
    assert not [loss for row in rows for loss in row.losses]
    assert [row.tried for row in rows] == [row.aim for row in rows]
    assert len(rows) == len(calls)


def test_the_page_repeats_a_loss_by_its_number(campaign: Campaign) -> None:
    row = Row("mutants")
    row.count(1, [])
    row.count(2, [], refused=True)
    row.count(31, ["it hung", "it lied"])
    page = compose([Chapter("inputs", "Recordings", 1.0, [row])], campaign)
    assert "| mutants | 3 | 1 | 1 | 1 |  |" in page
    assert "- it hung; it lied\n" in page
    assert f"--parts inputs --seed {SEED} --only 31`" in page
