"""Names of models: aliases, repositories in the cache, directories, and what is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bad_checkpoints import write_good_checkpoint
from tests.support.formats import small_checkpoint, write_ggml
from tests.support.hub_cache import cache_repository
from whisper_npu_cli.checkpoints.caches import ALIASES
from whisper_npu_cli.checkpoints.names import open_checkpoint, repository_of, resolve
from whisper_npu_cli.errors import CheckpointError


def test_alias_repository_and_cache(cache: Path) -> None:
    directory = cache_repository(cache, "openai/whisper-tiny.en")
    assert resolve("tiny.en", offline=True) == directory
    assert resolve("openai/whisper-tiny.en", offline=True) == directory
    assert open_checkpoint("tiny.en", offline=True).name == "tiny.en"


def test_every_alias_names_a_repository() -> None:
    for alias, repository in ALIASES.items():
        assert repository_of(alias) == repository
        assert repository.split("/")[0] in {"openai", "distil-whisper"}
    assert ALIASES["large"] == ALIASES["large-v3"]
    assert ALIASES["turbo"] == ALIASES["large-v3-turbo"]


def test_directory_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_good_checkpoint(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("mine", "./mine", str(tmp_path / "mine"), "~/mine"):
        assert open_checkpoint(name, offline=True).path is not None


def test_file_is_taken_as_it_is(tmp_path: Path) -> None:
    write_ggml(tmp_path / "x.bin", small_checkpoint())
    checkpoint = open_checkpoint(str(tmp_path / "x.bin"), offline=True)
    assert checkpoint.path == tmp_path / "x.bin"
    again = open_checkpoint(str(checkpoint.path), offline=True)  # as the NPU's worker does
    assert again.identity == checkpoint.identity


def test_alias_wins_over_a_directory_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="model base is not in the cache"):
        resolve("base", offline=True)


def test_offline_error_names_model_cache_and_a_way_out(cache: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint("small", offline=True)
    assert "model small" in str(caught.value)
    assert str(cache) in str(caught.value)
    assert "models list" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["", "nope", "./nope", "/nope", "~/nope", "a/b/c", "a b/c", "a/"])
def test_name_that_means_nothing(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"unknown model|no name of a repository"):
        resolve(name, offline=True)


def test_random_is_computed() -> None:
    checkpoint = open_checkpoint("random:tiny.en", offline=True)
    assert checkpoint.name == "random:tiny.en"
    assert checkpoint.path is None
    with pytest.raises(CheckpointError, match="unknown model random:huge") as caught:
        open_checkpoint("random:huge", offline=True)
    assert "large-v3-turbo" in (caught.value.hint or "")
    with pytest.raises(CheckpointError, match="random:tiny is computed"):
        resolve("random:tiny", offline=True)
