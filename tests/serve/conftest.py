"""A server with the demo model, one for each module."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.support.serving import Served, serving, wait_for_logs


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, Any, Any]:
    """Let no server print after a test's call, when pytest captures nothing."""
    result = yield
    wait_for_logs()
    return result
