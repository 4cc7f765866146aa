"""A server with the demo model, one for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.serving import Served, serving


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as one:
        yield one
