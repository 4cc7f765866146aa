"""The cache and the client of the hub; downloads are tested with the command in cli/."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError

from tests.support.hub_cache import cache_repository
from whisper_npu_cli.checkpoints.hub import cache_folder, download, find_cached
from whisper_npu_cli.checkpoints.huggingface import INDEX_FILE, WEIGHTS_FILE
from whisper_npu_cli.errors import CheckpointError

FILES = ["config.json", "tokenizer.json", WEIGHTS_FILE]


def publish(monkeypatch: pytest.MonkeyPatch, files: list[str]) -> None:
    """Let a repository have `files`, of which nothing is ever downloaded."""
    siblings = [SimpleNamespace(rfilename=file) for file in files]
    info = Mock(return_value=SimpleNamespace(siblings=siblings))
    monkeypatch.setattr(huggingface_hub, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Mock())


def refuse(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(huggingface_hub, "model_info", Mock(side_effect=error))


def test_cache_folder_is_that_of_the_client(cache: Path) -> None:
    assert cache_folder() == cache


@pytest.mark.parametrize("missing", [WEIGHTS_FILE, "tokenizer.json", "config.json"])
def test_incomplete_cache_is_no_hit(cache: Path, missing: str) -> None:
    directory = cache_repository(cache, "openai/whisper-base")
    assert find_cached("openai/whisper-base") == directory
    (directory / missing).unlink()
    assert find_cached("openai/whisper-base") is None


def test_sharded_cache_is_complete_with_its_last_shard(cache: Path) -> None:
    directory = cache_repository(cache, "openai/whisper-large")
    (directory / WEIGHTS_FILE).rename(directory / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (directory / INDEX_FILE).write_text(json.dumps({"weight_map": shards}))
    assert find_cached("openai/whisper-large") is None
    (directory / "model-00002-of-00002.safetensors").touch()
    assert find_cached("openai/whisper-large") == directory


@pytest.mark.parametrize("index", ["", "{}", '{"weight_map": 5}'])
def test_cache_with_a_damaged_index_is_no_hit(cache: Path, index: str) -> None:
    directory = cache_repository(cache, "openai/whisper-large")
    (directory / WEIGHTS_FILE).unlink()
    (directory / INDEX_FILE).write_text(index)
    assert find_cached("openai/whisper-large") is None


def test_download_that_the_client_gives_up_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, FILES)
    with pytest.raises(CheckpointError, match=r"model tiny .* cannot be downloaded \(incomplete\)"):
        download("openai/whisper-tiny", "tiny")


@pytest.mark.parametrize("missing", FILES)
def test_repository_that_lacks_a_file(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    publish(monkeypatch, [*(file for file in FILES if file != missing), "model.pt", "README.md"])
    with pytest.raises(CheckpointError, match=f"someone/one has no {missing}, found model.pt$"):
        download("someone/one", "someone/one")


def test_repository_that_asks_for_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, GatedRepoError.__new__(GatedRepoError))
    with pytest.raises(CheckpointError, match="someone/one asks for a login") as caught:
        download("someone/one", "someone/one")
    assert "hf auth login" in (caught.value.hint or "")


def test_failure_of_the_client_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, OSError("unreachable\ndetails"))
    with pytest.raises(CheckpointError, match=r"\(OSError unreachable\)$") as caught:
        download("openai/whisper-tiny", "tiny")
    assert "models list" in (caught.value.hint or "")
