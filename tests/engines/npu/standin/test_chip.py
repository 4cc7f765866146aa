"""The stand-in is as unforgiving as the binding and the chip that it stands for."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.small_overlay import SMALL
from whisper_npu_cli.engines.npu.manifest import Manifest
from whisper_npu_cli.engines.npu.standin import chip, pyxrt
from whisper_npu_cli.engines.npu.standin.faults import Fault

TO_DEVICE = pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE
FROM_DEVICE = pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE
STATES = pyxrt.ert_cmd_state


class Session:
    """The calls of a program that uses pyxrt directly, for one gemm."""

    def __init__(self, manifest: Manifest) -> None:
        folder, overlay = manifest.path.parent, manifest.overlays[0]
        self.device = pyxrt.device(0)
        uuid = self.device.register_xclbin(pyxrt.xclbin(str(folder / overlay.xclbin)))
        self.context = pyxrt.hw_context(self.device, uuid)
        self.kernel = pyxrt.kernel(self.context, overlay.kernel)
        words = (folder / overlay.find_stream(SMALL).insts).read_bytes()
        self.instructions = pyxrt.bo(
            self.device, len(words), pyxrt.bo.cacheable, self.kernel.group_id(1)
        )
        self.instructions.write(words, 0)
        self.instructions.sync(TO_DEVICE)
        self.buffers = [self.buffer(argument.size_bytes) for argument in SMALL.arguments]

    def buffer(self, size: int, group: int | None = None) -> Any:
        group = self.kernel.group_id(3) if group is None else group
        return pyxrt.bo(self.device, size, pyxrt.bo.host_only, group)

    def arguments(self) -> list[Any]:
        return [3, self.instructions, self.instructions.size(), *self.buffers]

    def run(self) -> Any:
        run = pyxrt.run(self.kernel)
        for index, value in enumerate(self.arguments()):
            run.set_arg(index, value)
        return run

    def output(self) -> np.ndarray[Any, Any]:
        self.buffers[-1].sync(FROM_DEVICE)
        return np.frombuffer(self.buffers[-1].map(), np.uint16).copy()


@pytest.fixture
def session(machine: chip.Chip, manifest: Manifest) -> Session:
    assert not machine.contexts
    return Session(manifest)


def zero_inputs(session: Session) -> None:
    for buffer in session.buffers[:-1]:
        buffer.map()[:] = bytes(buffer.size())
        buffer.sync(TO_DEVICE)


def test_without_sync_nothing_reaches_the_device(session: Session) -> None:
    for buffer in session.buffers[:-1]:
        buffer.map()[:] = bytes(buffer.size())
    assert session.kernel(*session.arguments()).wait() == STATES.ERT_CMD_STATE_COMPLETED
    assert session.output().any()  # computed from what the device had: not zeros
    zero_inputs(session)
    session.kernel(*session.arguments())
    assert not session.output().any()


def test_fresh_memory_is_not_zero(session: Session) -> None:
    assert np.frombuffer(session.buffer(4096).map(), np.uint8).all()
    assert session.output().all()


def test_seventh_context_is_refused_and_a_dropped_one_returns(
    session: Session, manifest: Manifest
) -> None:
    others = [session, *(Session(manifest) for _ in range(5))]
    with pytest.raises(RuntimeError, match=r"CREATE_HWCTX IOCTL failed \(err=-22\)"):
        Session(manifest)
    del others[-1]
    gc.collect()
    Session(manifest)


def test_a_kernel_keeps_its_context_alive(machine: chip.Chip, session: Session) -> None:
    kernel = session.kernel
    del session
    gc.collect()
    assert len(machine.contexts) == 1
    assert kernel.group_id(3) == 65536
    assert kernel.group_id(1) == 65537
    assert kernel.group_id(0) == 131071


def test_wrong_bank_warns_and_leaves_the_buffer_alone(
    session: Session, capfd: pytest.CaptureFixture[str]
) -> None:
    zero_inputs(session)
    size = SMALL.arguments[-1].size_bytes
    session.buffers[-1] = session.buffer(size, session.kernel.group_id(1))
    before = session.output()
    session.run().start()
    assert "no compute units with connectivity" in capfd.readouterr().err
    assert np.array_equal(session.output(), before)


def test_unknown_instructions_complete_with_garbage(session: Session) -> None:
    zero_inputs(session)
    session.instructions.write(b"stale", 0)
    session.instructions.sync(TO_DEVICE)
    run = session.run()
    run.start()
    assert run.state() == STATES.ERT_CMD_STATE_COMPLETED
    assert session.output().any()


def test_arguments_that_cannot_be_cast_are_skipped_in_silence(session: Session) -> None:
    arguments = session.arguments()
    arguments[2] = float(arguments[2])
    assert session.kernel(*arguments).state() == STATES.ERT_CMD_STATE_ERROR
    with pytest.raises(TypeError):
        session.run().set_arg(2, 1.5)


def test_run_list_rules(session: Session) -> None:
    zero_inputs(session)
    runs = pyxrt.runlist(session.context)
    first, second = session.run(), session.run()
    runs.add(first)
    runs.add(second)
    with pytest.raises(RuntimeError, match="belongs to a runlist"):
        first.start()
    with pytest.raises(TypeError):
        runs.wait(1000)
    runs.execute()
    with pytest.raises(RuntimeError, match="runlist must be idle"):
        runs.add(session.run())
    runs.wait()
    assert first.state() == STATES.ERT_CMD_STATE_NEW
    assert not session.output().any()


def test_failure_aborts_the_later_members(machine: chip.Chip, session: Session) -> None:
    machine.faults = (Fault("error", 0),)
    runs = pyxrt.runlist(session.context)
    members = [session.run() for _ in range(3)]
    for run in members:
        runs.add(run)
    runs.execute()
    with pytest.raises(RuntimeError, match="ERT_CMD_STATE_ERROR"):
        runs.wait()
    assert [run.state().name[14:] for run in members] == ["ERROR", "ABORT", "ABORT"]
    runs.execute()  # idle again
    runs.wait()


def test_views_of_a_dropped_buffer_are_poisoned(session: Session) -> None:
    buffer = session.buffer(64)
    buffer.map()[:] = bytes(64)
    view = buffer.map()
    del buffer
    gc.collect()
    assert view[0] == chip.POISON  # the binding's view would crash the process


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda s: s.buffers[0].write(bytes(8), 10**9), "past buffer size"),
        (lambda s: pyxrt.bo(s.buffers[0], 64, 10**9), "sub buffer size and offset"),
        (lambda s: s.buffers[0].sync(TO_DEVICE, 10**9, 0), "offset exceeds buffer size"),
        (lambda s: s.device.load_xclbin("x"), "Operation not supported"),
        (lambda s: pyxrt.kernel(s.context, "OTHER"), "No such kernel"),
        (lambda _: pyxrt.device(1), "No such device"),
        (lambda _: pyxrt.xclbin(__file__), "not an xclbin"),
    ],
)
def test_errors_are_the_bindings(session: Session, call: Any, error: str) -> None:
    with pytest.raises(RuntimeError, match=error):
        call(session)


def test_enums_compare_as_pybind_makes_them() -> None:
    assert STATES.ERT_CMD_STATE_COMPLETED == 4
    assert pyxrt.bo.host_only != 1 << 29
    assert int(pyxrt.bo.host_only) == 1 << 29
    assert pyxrt.xrt_info_device.name.value == 5


def test_clock_charges_dispatch_and_work(machine: chip.Chip, session: Session) -> None:
    zero_inputs(session)
    before = machine.elapsed_ms
    session.run().start()
    single = machine.elapsed_ms - before
    runs = pyxrt.runlist(session.context)
    runs.add(session.run())
    runs.execute()
    runs.wait()
    listed = machine.elapsed_ms - before - single
    # 0.100 ms for a submission, 0.036 for a member of a run list (timing_model.py)
    assert single - listed == pytest.approx(0.064)


def test_missing_xclbin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="No such file"):
        pyxrt.xclbin(str(tmp_path / "none.xclbin"))
