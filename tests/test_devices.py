"""Engines are imported when they are chosen, whatever happens meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# As OpenVINO's import does: what is raised within it is another error outside
ENGINE = """
import signal
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    raise ImportError("initialization failed")
load = 42
"""
INTERRUPTED = """
import signal
from whisper_npu_cli.devices import import_target
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests' parent does
try:
    import_target("an_engine:load")
    print("went on")
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print("interrupted, with", import_target("an_engine:load"))
"""
IN_A_THREAD = """
from threading import Thread
from whisper_npu_cli.devices import import_target
thread = Thread(target=lambda: print(import_target("an_engine:load")))
thread.start()
thread.join()
"""


def run_beside(folder: Path, engine: str, script: str) -> str:
    """Return what `script` prints where `engine` can be imported, in a process of its own."""
    (folder / "an_engine.py").write_text(engine)
    script = f"import sys; sys.path.insert(0, {str(folder)!r})\n{script}"
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout


def test_an_interrupt_comes_after_an_import(tmp_path: Path) -> None:
    assert run_beside(tmp_path, ENGINE, INTERRUPTED) == "interrupted, with 42\n"


def test_other_threads_import_too(tmp_path: Path) -> None:
    assert run_beside(tmp_path, "load = 42", IN_A_THREAD) == "42\n"
