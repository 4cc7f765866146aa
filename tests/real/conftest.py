"""OpenAI's weights, fetched once; the tests are skipped with a notice where they cannot be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.places import GOLDEN
from tests.support.real_models import fetch_real_models
from tests.support.real_speech import AUDIO


@pytest.fixture(scope="session")
def real_models() -> dict[str, Path]:
    """The folders of tiny.en and base."""
    if not AUDIO.is_dir():
        pytest.skip(f"{AUDIO} is missing")
    try:
        return fetch_real_models()
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def goldens() -> dict[str, Any]:
    """What openai-whisper and faster-whisper wrote, by model."""
    models: dict[str, Any] = json.loads((GOLDEN / "real.json").read_text())["models"]
    return models
