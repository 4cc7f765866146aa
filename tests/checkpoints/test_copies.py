"""The models of the caches, and the deletion of no more than what was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.formats import small_checkpoint, write_ctranslate2, write_ggml, write_openai
from tests.support.hub_cache import cache_repository, place_repository
from whisper_npu_cli.checkpoints.copies import Deletion, find_removable, list_copies
from whisper_npu_cli.errors import CheckpointError, OutputError

WEIGHTS = "model.safetensors"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A present directory, and a cache of openai-whisper beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    for folder in ("models", "xdg/whisper"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def delete(name: str) -> int:
    """Delete a model; return how many bytes that was said to free."""
    deletion = Deletion(find_removable(name))
    deletion.execute()
    return deletion.size_bytes


def add_version(directory: Path, commit: str, own: bytes) -> Path:
    """Add a version of a repository with the same blobs but for one of its own; return it.

    As huggingface_hub lays them out: a version is links to blobs.
    """
    repository = directory.parents[1]
    blobs = repository / "blobs"
    blobs.mkdir(exist_ok=True)
    version = repository / "snapshots" / commit
    version.mkdir()
    for file in directory.iterdir():
        if not file.is_symlink():
            file.rename(blobs / file.name)
            file.symlink_to(blobs / file.name)
        (version / file.name).symlink_to(blobs / file.name)
    (version / WEIGHTS).unlink()
    (blobs / commit).write_bytes(own)
    (version / WEIGHTS).symlink_to(blobs / commit)
    return version


def walk(folder: Path) -> Iterator[str]:
    return (str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))


def test_every_cache_is_listed_once(home: Path, cache: Path) -> None:
    ours = cache_repository(cache, "openai/whisper-tiny.en")
    theirs = cache_repository(cache, "someone/else")
    folder = place_repository(cache, "someone/faster")
    write_ctranslate2(folder, small_checkpoint())
    bert = cache_repository(cache, "someone/bert")
    (bert / "config.json").write_text('{"model_type": "bert"}')
    place_repository(cache, "someone/interrupted")
    pt, ggml = home / "xdg" / "whisper" / "tiny.en.pt", Path("models/ggml-mine.bin")
    write_openai(pt, small_checkpoint())
    write_ggml(ggml, small_checkpoint())
    assert [(copy.name, copy.path, copy.format) for copy in list_copies()] == [
        ("tiny.en", ours, "Hugging Face"),
        ("tiny.en", pt, "openai-whisper"),
        ("someone/else", theirs, "Hugging Face"),
        ("someone/faster", folder, "CTranslate2"),
        ("models/ggml-mine.bin", ggml, "ggml"),
    ]
    assert [copy.repository for copy in list_copies()][:2] == ["openai/whisper-tiny.en", None]


def test_to_look_is_not_to_use(home: Path) -> None:
    pt, ggml = home / "xdg" / "whisper" / "tiny.en.pt", Path("models/ggml-mine.bin")
    write_openai(pt, small_checkpoint())
    write_ggml(ggml, small_checkpoint())
    for path in (pt, ggml):
        os.utime(path, (1e9, 2e9))  # Linux notes a use where the last one was before the writing
    for _ in range(2):
        assert [copy.used_s for copy in list_copies() if copy.format] == [1e9, 1e9]


def test_an_alias_is_all_of_its_copies(home: Path, cache: Path) -> None:
    cache_repository(cache, "openai/whisper-tiny.en")
    kept = cache_repository(cache, "openai/whisper-tiny")  # with the same commit
    pt = home / "xdg" / "whisper" / "tiny.en.pt"
    write_openai(pt, small_checkpoint())
    n_bytes = sum(copy.size_bytes for copy in list_copies() if copy.name == "tiny.en")
    assert delete("tiny.en") == n_bytes
    assert not pt.exists()
    assert [path.name for path in cache.iterdir()] == ["models--openai--whisper-tiny"]
    assert [copy.path for copy in list_copies()] == [kept]


@pytest.mark.parametrize("name", ["openai/whisper-tiny.en", "path"])
def test_one_copy_of_several(home: Path, cache: Path, name: str) -> None:
    ours = cache_repository(cache, "openai/whisper-tiny.en")
    pt = home / "xdg" / "whisper" / "tiny.en.pt"
    write_openai(pt, small_checkpoint())
    delete(str(ours) if name == "path" else name)
    assert [copy.path for copy in list_copies()] == [pt]


def test_what_another_version_needs_stays(cache: Path) -> None:
    present = cache_repository(cache, "openai/whisper-tiny.en")
    other = add_version(present, "0ther", b"other weights")
    size = (present / WEIGHTS).stat().st_size
    assert delete("tiny.en") == size
    assert not present.exists()
    assert list_copies() == []
    assert all(file.exists() for file in other.iterdir())
    assert (other / WEIGHTS).read_bytes() == b"other weights"
    assert not (other.parents[1] / "blobs" / WEIGHTS).exists()


def test_a_link_out_of_the_cache_costs_nothing_there(home: Path, cache: Path) -> None:
    present = cache_repository(cache, "openai/whisper-tiny.en")
    add_version(present, "0ther", b"other weights")
    (present / WEIGHTS).unlink()
    (home / "mine").write_bytes(b"my weights")
    (present / WEIGHTS).symlink_to(home / "mine")
    pt = home / "xdg" / "whisper" / "tiny.en.pt"
    write_openai(home / "mine.pt", small_checkpoint())
    pt.symlink_to(home / "mine.pt")
    delete("tiny.en")
    assert list_copies() == []
    assert {"mine", "mine.pt"} <= set(walk(home))


@pytest.mark.parametrize("name", ["demo", "models", "base", "random:tiny", "tinyen", ""])
def test_nothing_else_is_deleted(home: Path, cache: Path, name: str) -> None:
    cache_repository(cache, "openai/whisper-tiny.en")
    write_ggml(home / "mine.bin", small_checkpoint())
    for one in (name, str(home / "mine.bin")):
        with pytest.raises(CheckpointError, match="is in none of the caches"):
            find_removable(one)


def test_what_cannot_be_deleted_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "models" / "ggml-tiny.en.bin"
    write_ggml(path, small_checkpoint())
    deletion = Deletion(find_removable("tiny.en"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match=r"ggml-tiny.en.bin: cannot be deleted"):
        deletion.execute()
