"""Servers: one with the demo model for each module, and one whose work a test holds."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.support.serving import HeldTranscriber, Served, serving, wait_for_logs
from whisper_npu_cli.serve.settings import ServeOptions


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


@pytest.fixture
def held() -> HeldTranscriber:
    return HeldTranscriber()


@pytest.fixture
def narrow(held: HeldTranscriber) -> Iterator[Served]:
    """A server that works on one request at a time, while one waits."""
    with serving(lambda _: held, ServeOptions(parallel=1, queue=1)) as one:
        yield one
        held.step.release(1000)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, Any, Any]:
    """Let no server print after a test's call, when pytest captures nothing."""
    result = yield
    wait_for_logs()
    return result
