"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.places import SHARED

settings.register_profile("any machine", deadline=None)  # no test asserts time
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let compiled encoders be stored in a folder of this run, and no user's defaults be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The folder of real recordings, which lies beside the checkout where it is developed."""
    folder = SHARED / "audio"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    return folder
