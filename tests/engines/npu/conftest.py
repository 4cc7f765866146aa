"""A chip that nobody has used yet, and an overlay for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.small_overlay import SPECS
from whisper_npu_cli.engines.npu.manifest import Manifest
from whisper_npu_cli.engines.npu.standin import build, chip


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """An overlay with the streams of SPECS."""
    return build.build_overlay(tmp_path, SPECS)


@pytest.fixture
def machine(manifest: Manifest) -> Iterator[chip.Chip]:
    """A fresh chip that knows the overlay."""
    yield chip.plug_in(chip.Chip(build.make_operators(manifest)))
    chip.plug_in(chip.Chip())
