"""The program as a wheel lays it out: no checkout, an empty folder, an empty home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlir.toolchain import read_toml
from tests.cli.conftest import MAIN, Cli
from tests.support import machines
from tests.support.places import ROOT
from whisper_npu_cli.engines.npu.manifest import hash_sources

WHEEL = read_toml(ROOT / "pyproject.toml")["tool"]["hatch"]["build"]["targets"]["wheel"]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages."""
    folder = tmp_path_factory.mktemp("site")
    copies = {name: name for name in WHEEL["packages"]} | WHEEL["force-include"]
    for source, target in copies.items():
        place = folder / target
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place)
    return folder


@pytest.fixture
def run(site: Path, tmp_path: Path) -> Run:
    """Run the installed program."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {"PYTHONPATH": str(site), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        return subprocess.run(
            [sys.executable, "-c", MAIN, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment,
        )

    return run


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("overlays", "status"), ("overlays", "verify"), ("overlays", "build")],
    ids=" ".join,
)
def test_hints_name_what_is_there(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    told = result.stdout + result.stderr
    assert "Traceback" not in told
    assert not [
        word for word in ("make ", "docs/", "samples/", ".venv/bin/whisper") if word in told
    ]


def test_an_overlay_is_built_for_the_user(run: Run) -> None:
    result = run("overlays", "build")
    assert result.returncode == 2
    assert "xclbinutil" in result.stderr
    assert "help npu" in result.stderr


def test_the_doctor_names_what_is_there(run: Run, tmp_path: Path) -> None:
    machines.make_healthy(tmp_path / "machine")
    printed = run("doctor", "--root", tmp_path / "machine").stdout
    assert "`whisper-npu overlays build`" in printed
    assert "`whisper-npu help npu`" in printed


def test_the_documentation_comes_with_it(run: Run) -> None:
    pages = run("help").stdout
    assert {line.split()[0] for line in pages.splitlines()} == {
        path.stem for path in (ROOT / "docs").glob("*.md")
    }
    assert run("help", "npu").stdout == (ROOT / "docs" / "npu.md").read_text()
    assert "did you mean npu?" in run("help", "npuu").stderr


def test_the_sources_of_the_overlay_are_those_of_the_checkout(site: Path) -> None:
    shipped = site / "whisper_npu_cli" / "shipped"
    assert hash_sources(shipped / "mlir") == hash_sources(ROOT / "mlir")


def test_the_demo_needs_nothing(cli: Cli, site: Path) -> None:
    result = cli("demo")
    assert result.status == 0
    assert "one six one eight" in result.stdout
    (recording,) = (site / "whisper_npu_cli" / "shipped" / "samples").glob("*.wav")
    assert recording.name in result.stderr
