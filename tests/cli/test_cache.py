"""`whisper-npu cache`: what is stored for which model, and its deletion beside running programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import MAIN, Cli
from tests.support.places import ROOT
from tests.support.terminal import run_in_terminal
from whisper_npu_cli.engines.numba_decoder.code import load_all
from whisper_npu_cli.engines.numba_decoder.decoder import list_kernels
from whisper_npu_cli.options import EngineOptions

SAMPLE = min((ROOT / "samples").glob("*.wav"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own, also for compiled code, which is in this process already."""
    load_all(list_kernels(EngineOptions()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code = tmp_path / "code"
    code.mkdir()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(code))
    for name, size in (("f.code", 1_000_000), ("f-1.py311.1.nbc", 2_000_000)):
        (code / name).write_bytes(bytes(size))
        os.utime(code / name, (0, 0))
    (code / "kernels.cpython-311.pyc").touch()
    return tmp_path


def test_what_is_stored_is_shown_and_deleted(folder: Path, cli: Cli) -> None:
    assert cli("transcribe", SAMPLE, "--model", "demo", "-q").status == 0
    encoder, decoder, code = cli("cache", "--json").document["stored"]
    assert (encoder["what"], decoder["what"]) == ("stored encoder", "stored decoder")
    for one in (encoder, decoder):
        assert one["model"] == "demo"
        assert Path(one["path"]).stat().st_size == one["size_bytes"]
    assert code == {
        "what": "compiled code",
        "model": None,
        "path": str(folder / "code"),
        "size_bytes": 3_000_000,
        "last_use": code["last_use"],
    }
    assert code["last_use"].startswith(("1970-01-01", "1969-12-31"))
    assert cli("cache", "clear", "--compiled").stderr == "deleted: 3 MB\n"
    assert [path.name for path in (folder / "code").iterdir()] == ["kernels.cpython-311.pyc"]
    assert [one["model"] for one in cli("cache", "--json").document["stored"]] == ["demo"] * 2
    cli("cache", "clear", "--models")
    assert not Path(encoder["path"]).exists()
    assert not Path(decoder["path"]).exists()
    assert cli("cache").stderr == "nothing is stored\n"
    assert cli("cache", "clear").status == 0


@pytest.mark.usefixtures("folder")
def test_clear_deletes_all(cli: Cli) -> None:
    cli("transcribe", SAMPLE, "--model", "demo", "-q")
    assert len(cli("cache", "--json").document["stored"]) == 3
    cli("cache", "clear")
    assert cli("cache", "--json").document["stored"] == []


def test_a_table_fits_a_terminal(tmp_path: Path) -> None:
    encoders = tmp_path / "whisper-npu" / "openvino"
    encoders.mkdir(parents=True)
    (encoders / f"{'long-' * 10}-{'0' * 32}.blob").write_bytes(bytes(2_000_001))
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "XDG_CACHE_HOME": str(tmp_path),
        "NUMBA_CACHE_DIR": str(tmp_path / "empty"),
    }
    status, shown = run_in_terminal([sys.executable, "-c", MAIN, "cache"], env=env)
    assert status == 0
    heading, row = shown.splitlines()
    assert heading.split() == ["WHAT", "MODEL", "SIZE", "LAST", "USE", "WHERE"]
    assert len(row) == 80
    assert " 3 MB " in row
    assert row.endswith("00.blob")


def test_a_program_goes_on_without_its_files(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder's weights are pages of its file."""
    from whisper_npu_cli.pipeline import Transcriber

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Transcriber("demo") as transcriber:
        before = [segment.text for segment in transcriber.transcribe(str(SAMPLE))]
        cli("cache", "clear", "--models")
        assert not list(tmp_path.rglob("*.blob"))
        assert [segment.text for segment in transcriber.transcribe(str(SAMPLE))] == before


@pytest.mark.usefixtures("folder")
def test_names_of_one_models_weights_share_an_encoder(cli: Cli) -> None:
    for name in ("demo", ROOT / "whisper_npu_cli" / "demo"):
        cli("transcribe", SAMPLE, "--model", name, "-q")
    models = [one["model"] for one in cli("cache", "--json").document["stored"]]
    assert models == ["demo", "demo", None]  # an encoder, a decoder, code
