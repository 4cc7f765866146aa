"""The stand-in has pyxrt's names and values: none missing, none of its own.

Where the real binding can be imported (`make test-xrt`), it is held to the same table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.places import GOLDEN
from whisper_npu_cli.engines.npu.locate import find_pyxrt
from whisper_npu_cli.engines.npu.standin import chip, pyxrt
from whisper_npu_cli.engines.npu.standin.faults import Fault
from whisper_npu_cli.engines.npu.xrt import XrtRuntime, import_pyxrt
from whisper_npu_cli.errors import DeviceError

SURFACE: dict[str, Any] = json.loads((GOLDEN / "pyxrt_surface.json").read_text())
HAS_PYXRT = any(file.fits(sys.version_info.minor) for file in find_pyxrt())


@pytest.fixture(
    params=[
        "stand-in",
        pytest.param(
            "pyxrt", marks=pytest.mark.skipif(not HAS_PYXRT, reason="XRT is not installed")
        ),
    ]
)
def binding(request: pytest.FixtureRequest) -> ModuleType:
    return pyxrt if request.param == "stand-in" else import_pyxrt()


def find(module: ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    return found


def public(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_module_has_every_name(binding: ModuleType) -> None:
    outer = [name for name in (*SURFACE["classes"], *SURFACE["enums"]) if "." not in name]
    expected = {*outer, *SURFACE["functions"], *SURFACE["values"]}
    assert expected <= public(binding)
    if binding is pyxrt:
        assert set(pyxrt.__all__) == expected


@pytest.mark.parametrize("name", SURFACE["classes"])
def test_class_has_every_member(binding: ModuleType, name: str) -> None:
    expected = set(SURFACE["classes"][name])
    found = public(find(binding, name))
    assert expected <= found
    if binding is pyxrt:
        assert found == expected


@pytest.mark.parametrize("name", SURFACE["enums"])
def test_enum_has_every_value(binding: ModuleType, name: str) -> None:
    members = find(binding, name).__members__
    assert {key: int(value) for key, value in members.items()} == SURFACE["enums"][name]


def test_the_binding_has_no_timeouts_for_run_lists(binding: Any) -> None:
    with pytest.raises(TypeError):
        binding.runlist().wait(1)
    with pytest.raises(TypeError):
        binding.run().set_arg(0, 1.5)


def test_only_enums_of_c_are_equal_to_integers(binding: Any) -> None:
    assert binding.ert_cmd_state.ERT_CMD_STATE_COMPLETED == 4
    assert binding.bo.host_only != 1 << 29


def test_errors_without_a_device(binding: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/dev/accel/accel0").exists():
        pytest.skip("there is an NPU here")
    monkeypatch.setattr(chip.get_current(), "faults", (Fault("no-device"),))
    assert binding.enumerate_devices() == 0
    with pytest.raises(RuntimeError, match="No such device with index '0'"):
        binding.device(0)
    with pytest.raises(RuntimeError, match="No such file"):
        binding.xclbin("/nonexistent")
    with pytest.raises(DeviceError, match="XRT sees no NPU"):
        XrtRuntime(binding)
