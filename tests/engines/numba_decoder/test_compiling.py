"""Compiled code is stored once, and again when it or what it calls has changed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from numba import njit

from whisper_npu_cli.engines.numba_decoder import compiling
from whisper_npu_cli.errors import DeviceError


def function_at(path: Path) -> Any:
    """A function of a module at `path`."""
    path.write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("kernel", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.double


def test_compiles_again_when_the_package_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, notices = function_at(tmp_path / "kernel.py"), []
    for stamp in ("before", "before", "after"):
        monkeypatch.setattr(compiling.PackageCache, "STAMP", stamp)
        found = njit(function)  # as a process finds it that has just started
        compiling.compile_once(found, (1.0,), lambda: notices.append(stamp))  # noqa: B023
        assert found(1.5) == 3.0
    assert notices == ["before", "after"]


def test_no_folder_for_compiled_code_is_an_error() -> None:
    names: dict[str, Any] = {}
    exec("def double(x):\n    return 2 * x", names)  # of no file, and so of no folder
    with pytest.raises(DeviceError, match="no locator available") as error:
        compiling.compile_once(njit(names["double"]), (1.0,), lambda: None)
    assert "NUMBA_CACHE_DIR" in str(error.value.hint)
