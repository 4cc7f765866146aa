"""Models in the caches of other programs: which are found, and which is taken first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.formats import small_checkpoint, write_ctranslate2, write_ggml, write_openai
from tests.support.hub_cache import cache_repository, place_repository
from whisper_npu_cli.checkpoints.caches import ALIASES, find_copies, list_quantized
from whisper_npu_cli.checkpoints.names import open_checkpoint, resolve
from whisper_npu_cli.errors import CheckpointError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A present directory, and a cache of openai-whisper beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    for folder in ("models", "xdg/whisper"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_copies_come_in_the_documented_order(home: Path, cache: Path) -> None:
    write_ggml(home / "models" / "ggml-tiny.en.bin", small_checkpoint())
    systran = place_repository(cache, "Systran/faster-whisper-tiny.en")
    write_ctranslate2(systran, small_checkpoint())
    write_openai(home / "xdg" / "whisper" / "tiny.en.pt", small_checkpoint())
    ours = cache_repository(cache, "openai/whisper-tiny.en")
    theirs = [home / "xdg" / "whisper" / "tiny.en.pt", systran, Path("models/ggml-tiny.en.bin")]
    assert list(find_copies("tiny.en")) == [ours, *theirs]
    (ours / "model.safetensors").unlink()
    for path in theirs:
        assert resolve("tiny.en", offline=True) == path
        checkpoint = open_checkpoint("tiny.en", offline=True)
        assert (checkpoint.name, checkpoint.path) == ("tiny.en", path)
        (path / "model.bin" if path.is_dir() else path).unlink()
    with pytest.raises(CheckpointError, match=r"model tiny.en is not in the cache"):
        resolve("tiny.en", offline=True)


def test_a_repository_of_ctranslate2_is_a_model_by_its_own_name(cache: Path) -> None:
    folder = place_repository(cache, "someone/faster-whisper")
    write_ctranslate2(folder, small_checkpoint())
    assert resolve("someone/faster-whisper", offline=True) == folder
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match="is not in the cache"):
        resolve("someone/faster-whisper", offline=True)


@pytest.mark.parametrize(
    ("alias", "repository", "file"),
    [
        ("large", "Systran/faster-whisper-large-v3", "large-v3"),
        ("turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo", "large-v3-turbo"),
        ("distil-small.en", "Systran/faster-distil-whisper-small.en", "distil-small.en"),
        ("distil-large-v3.5", "distil-whisper/distil-large-v3.5-ct2", "distil-large-v3.5"),
    ],
)
def test_names_of_other_programs(
    alias: str, repository: str, file: str, home: Path, cache: Path
) -> None:
    folder = place_repository(cache, repository)
    for name in ("config.json", "model.bin"):
        (folder / name).touch()
    ggml = Path("models") / f"ggml-{file}.bin"
    ggml.touch()
    assert list(find_copies(alias)) == [folder, ggml]
    assert list(find_copies("base")) == []
    assert home.samefile(Path.cwd())


def test_interrupted_download_of_openai_is_no_copy(home: Path) -> None:
    path = home / "xdg" / "whisper" / "base.pt"
    write_openai(path, small_checkpoint())
    assert list(find_copies("base")) == [path]
    path.write_bytes(path.read_bytes()[:-1000])
    assert list(find_copies("base")) == []


def test_quantized_files_have_no_alias(home: Path) -> None:
    names = ("ggml-base.bin", "ggml-base-q5_1.bin", "ggml-mine.bin", "base.bin")
    for name in names:
        (home / "models" / name).touch()
    assert list_quantized() == [Path("models/ggml-base-q5_1.bin"), Path("models/ggml-mine.bin")]


def test_every_alias_is_looked_for(home: Path) -> None:
    assert home.exists()
    assert all(list(find_copies(alias)) == [] for alias in ALIASES)
