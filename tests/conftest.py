"""Fixtures that several test modules share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # no test asserts time
settings.load_profile("any machine")

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
GOLDEN = Path(__file__).resolve().parent / "golden"


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The folder of real recordings beside the checkout."""
    folder = SHARED / "audio"
    assert folder.is_dir(), f"{folder} is missing: the tests need the shared recordings"
    return folder
