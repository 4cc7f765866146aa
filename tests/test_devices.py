"""Engines are imported when they are chosen, whatever happens meanwhile."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from threading import Thread

import pytest

from whisper_npu_cli.devices import import_target

# As OpenVINO's import does: what is raised within it is another error outside
ENGINE = """
import signal
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    raise ImportError("initialization failed")
load = 42
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "an_engine.py").write_text(ENGINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "an_engine", raising=False)
    return "an_engine:load"


def test_an_interrupt_comes_after_an_import(engine: str) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        import_target(engine)
    assert signal.getsignal(signal.SIGINT) is handler
    assert import_target(engine) == 42  # it was imported


def test_other_threads_import_too(engine: str) -> None:
    found = []
    (Path(sys.path[0]) / "an_engine.py").write_text("load = 42")
    thread = Thread(target=lambda: found.append(import_target(engine)))
    thread.start()
    thread.join()
    assert found == [42]
