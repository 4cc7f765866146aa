"""The XRT runtime on the stand-in: what it computes, refuses and gives back."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.small_overlay import NORM, SMALL, SPECS
from whisper_npu_cli.engines.npu import layout, trust
from whisper_npu_cli.engines.npu.locate import find_pyxrt
from whisper_npu_cli.engines.npu.manifest import Manifest
from whisper_npu_cli.engines.npu.runtime import Command
from whisper_npu_cli.engines.npu.spec import StreamSpec
from whisper_npu_cli.engines.npu.standin import chip, pyxrt
from whisper_npu_cli.engines.npu.standin.faults import Fault, parse_faults
from whisper_npu_cli.engines.npu.xrt import XrtRuntime, import_pyxrt
from whisper_npu_cli.errors import DeviceError, OverlayError


def open_runtime(machine: chip.Chip) -> XrtRuntime:
    return XrtRuntime(pyxrt, lambda: machine.elapsed_ms / 1000)


def check(machine: chip.Chip, manifest: Manifest, *specs: StreamSpec) -> float:
    runtime = open_runtime(machine)
    program = runtime.load(manifest.path.parent, manifest.overlays[0])
    return trust.check_streams(runtime, program, specs or SPECS)


def test_every_stream_passes_its_known_answer_test(machine: chip.Chip, manifest: Manifest) -> None:
    device_ms = check(machine, manifest)
    assert device_ms > 0
    assert machine.n_commands == len(SPECS)
    gc.collect()
    assert not machine.contexts  # nothing refers to the program any more


@pytest.mark.parametrize("epilogue", ["f32", "gelu", "qkv", "residual", "gelu_residual"])
def test_known_answers_of_each_epilogue(tmp_path: Path, epilogue: str) -> None:
    specs = (StreamSpec("gemm", 256, 192, 768, epilogue, parts=3),)
    check_specs(tmp_path, specs)


def test_known_answers_of_attention(tmp_path: Path) -> None:
    check_specs(tmp_path, (StreamSpec("attention", 256, 256, 256, valid=220),))


def check_specs(folder: Path, specs: tuple[StreamSpec, ...]) -> None:
    from whisper_npu_cli.engines.npu.standin import build

    manifest = build.build_overlay(folder, specs)
    machine = chip.plug_in(chip.Chip(build.make_operators(manifest)))
    check(machine, manifest, *specs)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("zeros", "failed its known-answer test"),
        ("garbage", "failed its known-answer test"),
        ("nan", "left part of its output unwritten"),
        ("skip", "left part of its output unwritten"),
    ],
)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.op)
def test_a_lying_device_is_not_trusted(
    machine: chip.Chip, manifest: Manifest, spec: StreamSpec, kind: str, reason: str
) -> None:
    machine.faults = (Fault(kind),)
    with pytest.raises(OverlayError, match=f"stream {spec.name} {reason}"):
        check(machine, manifest, spec)


def test_stale_instructions_are_not_trusted(machine: chip.Chip, manifest: Manifest) -> None:
    path = manifest.path.parent / manifest.overlays[0].find_stream(SMALL).insts
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(OverlayError, match="known-answer"):
        check(machine, manifest, SMALL)


def test_streams_of_other_models_are_not_loaded(machine: chip.Chip, manifest: Manifest) -> None:
    (manifest.path.parent / manifest.overlays[0].find_stream(NORM).insts).unlink()
    assert check(machine, manifest, SMALL) > 0


@pytest.mark.parametrize(
    ("kind", "reason", "hint"),
    [
        ("error", "ended a command with ERT_CMD_STATE_ERROR", None),
        ("hang", "ended a command with ERT_CMD_STATE_TIMEOUT", None),
        ("bank", "another memory bank", "do not fit together"),
        ("no-context", "err=-22", "six hardware contexts"),
        ("no-device", "XRT sees no NPU", "doctor"),
    ],
)
def test_failures_become_device_errors_with_a_hint(
    machine: chip.Chip, manifest: Manifest, kind: str, reason: str, hint: str | None
) -> None:
    machine.faults = (Fault(kind),)
    with pytest.raises(DeviceError, match=reason) as raised:
        check(machine, manifest)
    assert hint is None or hint in str(raised.value.hint)


@pytest.mark.parametrize("drops", ["", "chain@1", "chain@24"])
def test_a_list_is_trusted_where_every_command_of_it_ran(
    machine: chip.Chip, manifest: Manifest, drops: str
) -> None:
    machine.faults = parse_faults(drops, 0)
    runtime = open_runtime(machine)
    program = runtime.load(manifest.path.parent, manifest.overlays[0])
    if drops:
        with pytest.raises(OverlayError, match="left part of its output unwritten"):
            trust.check_list(runtime, program, SPECS)
    else:
        assert trust.check_list(runtime, program, SPECS) > 0
        assert machine.n_commands == trust.LIST_LENGTH > 24


class WithoutRunLists:
    """pyxrt of XRT 2.19."""

    def __getattr__(self, name: str) -> object:
        if name == "runlist":
            raise AttributeError(name)
        return getattr(pyxrt, name)


@pytest.mark.parametrize("kind", ["", "error", "freeze"])
def test_without_run_lists_commands_go_one_by_one(
    machine: chip.Chip, manifest: Manifest, kind: str
) -> None:
    machine.faults = (Fault(kind),) if kind else ()
    runtime = XrtRuntime(WithoutRunLists(), lambda: machine.elapsed_ms / 1000)  # type: ignore[arg-type]
    program = runtime.load(manifest.path.parent, manifest.overlays[0])
    buffers = tuple(runtime.alloc(argument.size_bytes) for argument in NORM.arguments)
    rows = np.random.default_rng(0).random((256, 256)).astype(np.float32)
    buffers[0].host[:] = layout.pack_c(rows).reshape(-1).view(np.uint8)
    buffers[0].to_device()
    run_list = program.run_list([Command(NORM.name, buffers)] * 2, chained=True)
    if kind:
        reason = {"error": "ended a command with ERT_CMD_STATE_ERROR", "freeze": "did not answer"}
        with pytest.raises(DeviceError, match=reason[kind]):
            run_list.run(0.01)
        return
    assert run_list.run(1.0) > 0
    assert machine.n_commands == 2


def test_host_views_keep_their_buffer_alive(machine: chip.Chip) -> None:
    runtime = open_runtime(machine)
    view = runtime.alloc(64).host[8:16]
    view[:] = 5
    gc.collect()
    assert (view == 5).all()


def test_pyxrt_for_another_python_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/python3/dist-packages"
    folder.mkdir(parents=True)
    (folder / "pyxrt.cpython-312-x86_64-linux-gnu.so").touch()
    assert find_pyxrt(tmp_path, 12)[0].fits(12)
    assert not find_pyxrt(tmp_path, 13)[0].fits(13)
    assert find_pyxrt(tmp_path, 13)[0].minor == 12
    (folder / "pyxrt.cpython-313-x86_64-linux-gnu.so").touch()
    assert find_pyxrt(tmp_path, 13)[0].minor == 13


@pytest.fixture
def unseen_pyxrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """This Python does not see a pyxrt, nor has it imported one."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)


@pytest.mark.usefixtures("unseen_pyxrt")
def test_the_mismatch_is_an_error_with_both_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sys.version_info.minor + 1
    folder = tmp_path / "usr/lib/python3/dist-packages"
    folder.mkdir(parents=True)
    (folder / f"pyxrt.cpython-3{other}-x86_64-linux-gnu.so").touch()
    monkeypatch.setattr("whisper_npu_cli.engines.npu.xrt.find_pyxrt", lambda: find_pyxrt(tmp_path))
    with pytest.raises(DeviceError, match=rf"built for Python 3\.{other}"):
        import_pyxrt()


@pytest.mark.usefixtures("unseen_pyxrt")
def test_absent_pyxrt_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whisper_npu_cli.engines.npu.xrt.find_pyxrt", list)
    with pytest.raises(DeviceError, match="not installed"):
        import_pyxrt()
