"""What a shell completes, by the protocol of the script that --install-completion installs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import MAIN
from tests.support.hub_cache import cache_repository

HEAVY = ("openvino", "numba", "scipy", "av", "rich")
# Fails where something heavy is imported
PROGRAM = f"""
import atexit, os, sys
sys.argv[0] = "whisper-npu"
atexit.register(lambda: any(name in sys.modules for name in {HEAVY}) and os._exit(3))
{MAIN}"""


def complete(line: str, cache: Path) -> list[str]:
    """Return what bash offers at the end of `line`."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            "PYTHONPATH": ":".join(sys.path),
            "HF_HUB_CACHE": str(cache),
            "XDG_CONFIG_HOME": str(cache),
            "_WHISPER_NPU_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        cwd=cache,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    cache_repository(tmp_path, "openai/whisper-tiny.en")
    cache_repository(tmp_path, "someone/else")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("transcribe --model ", ["tiny.en", "someone/else", "demo"]),
        ("transcribe -m ti", ["tiny.en"]),
        ("models remove s", ["someone/else"]),
        ("doctor --model d", ["demo"]),
        ("transcribe --device ", ["auto", "npu", "cpu", "reference", "sim", "openvino:"]),
        ("bench --device c", ["cpu"]),
        ("transcribe --language it", ["it"]),
        ("transcribe -f srt,v", ["srt,vtt"]),
        ("transcribe --output-format a", ["all"]),
        ("transcribe --task trans", ["transcribe", "translate"]),
        ("transcribe --word", ["--word-timestamps"]),
        ("cache ", ["clear"]),
    ],
)
def test_values_are_completed(cache: Path, line: str, expected: list[str]) -> None:
    assert complete(f"whisper-npu {line}", cache) == expected


def test_a_wrong_file_of_defaults_does_not_matter(cache: Path) -> None:
    (cache / "whisper-npu").mkdir()
    (cache / "whisper-npu" / "config.toml").write_text("nonsense")
    assert complete("whisper-npu transcribe --device r", cache) == ["reference"]
