"""Microphones by programs that stand in for the real ones, with the options of these."""

from __future__ import annotations

import os
from pathlib import Path
from time import sleep

import numpy as np
import pytest

from whisper_npu_cli.audio.capture import Device, Microphone, find_recorder, list_devices
from whisper_npu_cli.errors import AudioError

# What each program takes, by its manual; another option ends it, as it does the real one.
_OPTIONS = {
    "pw-record": r"--raw|--rate|16000|--channels|1|--format|s16|--target=*|-",
    "parec": r"--raw|--rate=*|--channels=*|--format=*|--latency-msec=*|--device=*",
    "arecord": r"-q|-t|raw|-f|S16_LE|-r|16000|-c|1|--device=*",
}
_HELP = {
    "pw-record": "-a, --raw  RAW mode",
    "parec": "--raw  Record/play raw PCM data",
    "arecord": "",
}
_LISTS = {
    "pw-dump": r"""[{"type": "PipeWire:Interface:Core", "info": {"props": {}}}, {"info": null},
        {"info": {"props": {"media.class": "Audio/Sink", "node.name": "speaker"}}},
        {"info": {"props": {"media.class": "Audio/Source", "node.name": "alsa_input.usb-Mic",
        "node.description": "USB Mic"}}}]""",
    "pactl": "0\talsa_input.usb-Mic\tmodule-alsa-card.c\ts16le 1ch 48000Hz\tSUSPENDED",
    "arecord": "null\n    Discard all samples\nsysdefault:CARD=Mic\n    USB Mic\n    Default Audio",
}
_ECHO = "printf '\\001\\000\\002\\000'"  # two samples


def put(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def put_recorder(folder: Path, name: str, then: str = _ECHO) -> None:
    """Put a program that records two samples, refuses options it has not, and lists devices."""
    listing = f"cat <<'END'\n{_LISTS.get(name, '')}\nEND\nexit"
    put(
        folder,
        name,
        f"""
case "$*" in --help) echo '{_HELP[name]}'; exit;; -L) {listing};; esac
for option; do case "$option" in {_OPTIONS[name]}) ;; *) echo "bad $option" >&2; exit 1;; esac; done
echo "$@" > {folder}/arguments
{then}""",
    )


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of programs but for the shell's own."""
    for name in ("cat", "mv", "sleep"):
        (tmp_path / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def hear(device: str | None = None) -> list[int]:
    blocks = list(Microphone(device).blocks())
    return [round(float(sample) * 32768) for sample in np.concatenate(blocks)]


@pytest.mark.parametrize("name", _OPTIONS)
def test_each_program_records(programs: Path, name: str) -> None:
    put_recorder(programs, name)
    assert find_recorder().name == name
    assert hear() == hear("mic") == [1, 2]
    assert "mic" in (programs / "arguments").read_text()


def test_pipewire_comes_first_unless_it_is_too_old(programs: Path) -> None:
    for name in _OPTIONS:
        put_recorder(programs, name)
    assert find_recorder().name == "pw-record"
    put(programs, "pw-record", "echo '--rate --format'")
    assert find_recorder().name == "parec"


@pytest.mark.usefixtures("programs")
def test_without_a_program_it_is_told_what_to_install() -> None:
    with pytest.raises(AudioError, match="no program that records") as caught:
        Microphone()
    assert "apt install" in (caught.value.hint or "")


def test_a_program_that_fails_is_an_error_with_its_last_line(programs: Path) -> None:
    put_recorder(programs, "parec", "echo 'Connection refused' >&2; exit 1")
    with pytest.raises(AudioError, match="parec failed: Connection refused"):
        hear()


def test_a_program_is_ended_with_what_it_has_recorded(programs: Path) -> None:
    put_recorder(
        programs,
        "arecord",
        f"{_ECHO}; cd {programs}; echo $$ > pid.new; mv pid.new pid; exec sleep 1000",
    )
    microphone = Microphone()
    blocks = microphone.blocks()
    assert not next(blocks).size
    while not (programs / "pid").exists():  # it has recorded by then
        sleep(0.01)
    microphone.end()
    assert sum(block.size for block in blocks) == 2
    pid = int((programs / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("name", "lister", "described"),
    [
        ("pw-record", "pw-dump", "USB Mic"),
        ("parec", "pactl", "s16le 1ch 48000Hz"),
        ("arecord", "arecord", "USB Mic"),
    ],
)
def test_devices_are_listed(programs: Path, name: str, lister: str, described: str) -> None:
    put_recorder(programs, name)
    if lister != name:
        put(programs, lister, f"cat <<'END'\n{_LISTS[lister]}\nEND")
    *_, last = list_devices()
    assert last.name.endswith("Mic")
    assert last == Device(last.name, described)


def test_devices_that_cannot_be_listed_are_an_error(programs: Path) -> None:
    put_recorder(programs, "parec")
    with pytest.raises(AudioError, match="pactl is not installed"):
        list_devices()
    put(programs, "pactl", "echo 'Connection refused' >&2; exit 1")
    with pytest.raises(AudioError, match="pactl failed: Connection refused"):
        list_devices()
