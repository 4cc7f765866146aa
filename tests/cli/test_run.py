"""What a run says beside the text: the language alone, and why the CPU computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.places import SAMPLES


def test_the_language_alone_is_told(cli: Cli) -> None:
    samples = sorted(SAMPLES.glob("*.wav"))[:2]
    model = ("--model", "demo", "--detect-language")
    one, both = cli("transcribe", samples[0], *model), cli("transcribe", *samples, *model)
    assert re.fullmatch(r"en \(\d\.\d\d\)\n", one.stdout)
    assert re.fullmatch(rf"{samples[0]}: en \(.*\)\n{samples[1]}: en \(.*\)\n", both.stdout)
    assert cli("transcribe", samples[0], *model, "-f", "srt").status == 2


def test_why_the_cpu_computes_is_told_once(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sample = min(SAMPLES.glob("*.wav"))
    quiet, first, again, verbose = (
        cli("transcribe", sample, "--model", "demo", *more).stderr.count("using the CPU: ")
        for more in (("-q",), (), (), ("-v",))
    )
    assert (quiet, first, again, verbose) == (0, 1, 0, 1)
