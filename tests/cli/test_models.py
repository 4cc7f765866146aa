"""`whisper-npu models` as a process, with the real huggingface_hub and a hub on loopback."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import MAIN
from tests.support.bad_checkpoints import SMALL_DIMS, write_good_checkpoint
from tests.support.formats import (
    small_checkpoint,
    write_ctranslate2,
    write_ggml,
    write_openai,
    write_state,
)
from tests.support.hub_server import HubServer, serve
from tests.support.places import ROOT
from tests.support.terminal import run_in_terminal
from whisper_npu_cli.checkpoints import huggingface
from whisper_npu_cli.checkpoints.huggingface import PYTORCH_FILE, WEIGHTS_FILE
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.checkpoints.save import save_checkpoint

REPOSITORY = "someone/whisper-small-one"
NOBODY = "http://127.0.0.1:9"  # the discard port, where nobody listens
NO_SOCKETS = """
import socket
def refuse(*args, **kwargs): raise AssertionError("went online")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""


class Machine:
    """A user's machine: an own Hugging Face cache, and a hub that may be down."""

    def __init__(self, home: Path, endpoint: str) -> None:
        self.cache = home / "hub"
        self.folder = home.parent
        self.env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        self.env |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_COLOR": "1"}
        for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "TRANSFORMERS_OFFLINE"):
            self.env.pop(name, None)

    def command(self, *arguments: str, before: str = "") -> list[str]:
        return [sys.executable, "-c", before + MAIN, "models", *arguments]

    def run(
        self, *arguments: str, before: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, before=before),
            env=self.env | env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def list(self) -> list[dict[str, Any]]:
        """Return what `models list --json` has, which needs no network."""
        listed = json.loads(self.run("list", "--json", before=NO_SOCKETS).stdout)
        models: list[dict[str, Any]] = listed["models"]
        return models


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with what the real ones have beside the weights."""
    directory = tmp_path_factory.mktemp("published")
    write_good_checkpoint(directory)
    for name in ("README.md", "pytorch_model.bin", "flax_model.msgpack", "vocab.json"):
        (directory / name).write_text("not needed")
    (directory / "model.fp32-00001-of-00002.safetensors").write_text("not needed")
    return directory


@pytest.fixture
def hub(published: Path) -> Iterator[HubServer]:
    with serve({REPOSITORY: published, "openai/whisper-tiny": published}) as server:
        yield server


@pytest.fixture
def machine(hub: HubServer, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "home", hub.url)


def test_pull_then_path_without_network(machine: Machine, hub: HubServer) -> None:
    pulled = machine.run("pull", REPOSITORY)
    assert pulled.returncode == 0, pulled.stderr
    assert hub.downloads == {
        "config.json",
        "generation_config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        WEIGHTS_FILE,
    }
    assert all(REPOSITORY in request for request in hub.requests)  # no telemetry
    n_requests = len(hub.requests)
    found = machine.run("path", REPOSITORY, before=NO_SOCKETS)
    assert found.returncode == 0, found.stderr
    assert found.stdout == pulled.stdout
    directory = Path(found.stdout.rstrip("\n"))
    assert directory.is_relative_to(machine.cache)
    assert huggingface.load(directory).tensors
    again = machine.run("pull", REPOSITORY, before=NO_SOCKETS)
    assert again.returncode == 0, again.stderr
    assert len(hub.requests) == n_requests


def test_progress_is_for_terminals_only(machine: Machine) -> None:
    piped = machine.run("pull", REPOSITORY)
    assert piped.returncode == 0
    assert "%" not in piped.stderr
    shutil.rmtree(machine.cache)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    with subprocess.Popen(
        machine.command("pull", REPOSITORY), env=machine.env, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        stdout, _ = process.communicate(timeout=60)
    os.close(theirs)
    assert b"100%" in os.read(ours, 1_000_000)
    os.close(ours)
    assert stdout.decode() == piped.stdout


def test_aliases_name_the_published_repositories(machine: Machine) -> None:
    assert machine.run("pull", "tiny").returncode == 0
    listed = machine.run("list", before=NO_SOCKETS).stdout.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in listed[1:]}
    path = machine.run("path", "tiny").stdout.rstrip("\n")
    today = date.today().isoformat()
    assert rows["tiny"] == ["2", "MB", "Hugging", "Face", today, path]
    assert rows["turbo"] == ["-", "-", "-", "openai/whisper-large-v3-turbo"]


def test_copies_of_other_programs_are_listed_and_used(
    machine: Machine, tmp_path: Path, hub: HubServer
) -> None:
    cached = tmp_path / "xdg" / "whisper" / "tiny.en.pt"
    cached.parent.mkdir(parents=True)
    write_openai(cached, small_checkpoint())
    (tmp_path / "models").mkdir()
    write_ggml(tmp_path / "models" / "ggml-tiny.en-q8_0.bin", small_checkpoint(), "Q8_0")
    (tmp_path / "models" / "ggml-mine.bin").write_text("nothing")
    machine.env["XDG_CACHE_HOME"] = str(tmp_path / "xdg")
    listed = machine.list()
    assert {(model["name"], model["format"], model["path"]) for model in listed} == {
        ("tiny.en", "openai-whisper", str(cached)),
        ("models/ggml-mine.bin", "unknown", "models/ggml-mine.bin"),
        ("models/ggml-tiny.en-q8_0.bin", "ggml", "models/ggml-tiny.en-q8_0.bin"),
        ("demo", "Hugging Face", str(ROOT / "whisper_npu_cli" / "demo")),
    }
    assert machine.run("pull", "tiny.en").stdout == f"{cached}\n"
    assert hub.requests == []


def test_interrupted_download_is_not_taken_for_complete(machine: Machine, hub: HubServer) -> None:
    hub.stall_after = 200_000  # of 1.1 MB of weights; all other files are smaller
    with subprocess.Popen(
        machine.command("pull", REPOSITORY), env=machine.env, stderr=subprocess.PIPE
    ) as process:
        assert hub.stalled.wait(60)
        process.kill()
    interrupted = machine.run("path", REPOSITORY)
    assert interrupted.returncode == 1
    assert "is not in the cache" in interrupted.stderr
    endpoint, machine.env["HF_ENDPOINT"] = machine.env["HF_ENDPOINT"], NOBODY
    unreachable = machine.run("pull", REPOSITORY)
    assert unreachable.returncode == 1
    assert "cannot be downloaded" in unreachable.stderr
    assert "Traceback" not in unreachable.stderr
    hub.stall_after = None
    machine.env["HF_ENDPOINT"] = endpoint
    resumed = machine.run("pull", REPOSITORY)
    assert resumed.returncode == 0, resumed.stderr
    assert huggingface.load(Path(resumed.stdout.rstrip("\n"))).tensors


def test_repository_that_does_not_exist(machine: Machine) -> None:
    failed = machine.run("pull", "someone/nothing")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "no public repository someone/nothing" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_no_network_and_no_cache(machine: Machine, hub: HubServer) -> None:
    machine.env["HF_ENDPOINT"] = NOBODY
    failed = machine.run("pull", "base")
    assert failed.returncode == 1
    for phrase in ("model base", str(machine.cache), "refused", "models list"):
        assert phrase in failed.stderr, failed.stderr
    assert len(failed.stderr.splitlines()) == 2  # the error and the hint
    assert hub.requests == []


def test_offline_variable(machine: Machine, hub: HubServer) -> None:
    failed = machine.run("pull", "base", HF_HUB_OFFLINE="1")
    assert failed.returncode == 1
    for phrase in ("model base", str(machine.cache), "models list", "unset HF_HUB_OFFLINE"):
        assert phrase in failed.stderr, failed.stderr
    assert hub.requests == []
    absent = machine.run("path", "base")
    assert "run `whisper-npu models pull base`" in absent.stderr
    assert "HF_HUB_OFFLINE" not in absent.stderr


def test_repository_with_weights_that_cannot_be_read(
    machine: Machine, hub: HubServer, tmp_path: Path
) -> None:
    write_good_checkpoint(tmp_path / "old")
    (tmp_path / "old" / WEIGHTS_FILE).rename(tmp_path / "old" / "flax_model.msgpack")
    hub.repositories["someone/old"] = tmp_path / "old"
    failed = machine.run("pull", "someone/old")
    assert failed.returncode == 1
    assert "has no model.safetensors, found flax_model.msgpack" in failed.stderr
    assert hub.downloads == set()


def test_repositories_in_other_formats(machine: Machine, hub: HubServer, tmp_path: Path) -> None:
    old, faster = tmp_path / "old", tmp_path / "faster"
    checkpoint = random_checkpoint(SMALL_DIMS)
    save_checkpoint(checkpoint, old)
    (old / WEIGHTS_FILE).unlink()
    write_state(old / PYTORCH_FILE, checkpoint, "F32", rename=str, dims=False)
    write_ctranslate2(faster, small_checkpoint())
    hub.repositories |= {"someone/old": old, "someone/faster": faster}
    for name, folder in (("someone/old", old), ("someone/faster", faster)):
        pulled = machine.run("pull", name)
        assert pulled.returncode == 0, pulled.stderr
        found = {file.name for file in Path(pulled.stdout.rstrip("\n")).iterdir()}
        assert found == {file.name for file in folder.iterdir()}


def test_local_directory(machine: Machine, published: Path, hub: HubServer) -> None:
    assert machine.run("path", str(published)).stdout == f"{published}\n"
    assert hub.requests == []


def test_name_that_means_nothing(machine: Machine, hub: HubServer) -> None:
    failed = machine.run("path", "nope")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith("error: unknown model 'nope'")
    assert "hint: `whisper-npu models list`" in failed.stderr
    assert hub.requests == []


def test_a_model_is_deleted_after_a_question(machine: Machine) -> None:
    machine.run("pull", REPOSITORY)
    (path,) = (one["path"] for one in machine.list() if one["name"] == REPOSITORY)
    unasked = machine.run("remove", REPOSITORY)
    assert unasked.returncode == 2
    assert f"Hugging Face, 2 MB: {path}" in unasked.stderr
    assert "hint: add --yes" in unasked.stderr
    env = machine.env | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for answer, status in (("n\n", 1), ("y\n", 0)):
        assert Path(path).exists()
        command = machine.command("remove", REPOSITORY)
        shown = run_in_terminal(command, typed=answer, env=env, cwd=machine.folder)
        assert shown[0] == status
        assert "delete 2 MB? [y/N]" in shown[1]
    assert "deleted: 2 MB" in shown[1]
    assert not list(machine.cache.glob("models--*"))
    gone = machine.run("remove", REPOSITORY, "--yes")
    assert gone.returncode == 1
    assert gone.stderr.startswith(f"error: model {REPOSITORY} is in none of the caches\nhint: ")


def test_yes_asks_nobody(machine: Machine) -> None:
    machine.run("pull", "tiny")
    removed = machine.run("remove", "tiny", "--yes", before=NO_SOCKETS)
    assert (removed.returncode, removed.stdout) == (0, "")
    assert removed.stderr.endswith("deleted: 2 MB\n")
    assert [model["name"] for model in machine.list()] == ["demo"]


def test_a_table_fits_a_terminal(machine: Machine) -> None:
    machine.run("pull", REPOSITORY)
    env = machine.env | {"PYTHONPATH": os.pathsep.join(sys.path)}
    status, shown = run_in_terminal(machine.command("list"), env=env, cwd=machine.folder)
    assert status == 0
    assert max(map(len, shown.splitlines())) <= 80
    (row,) = (line for line in shown.splitlines() if line.startswith(REPOSITORY))
    assert row.endswith(machine.run("path", REPOSITORY).stdout.strip()[-8:])
