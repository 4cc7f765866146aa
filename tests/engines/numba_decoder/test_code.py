"""Compiled code is stored once, by other processes, and again when it has changed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whisper_npu_cli.engines.numba_decoder import code
from whisper_npu_cli.engines.numba_decoder.code import Compilation, Kernel, load_all
from whisper_npu_cli.engines.numba_decoder.decoder import list_kernels
from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.options import EngineOptions

MODULE = """
from whisper_npu_cli.engines.numba_decoder.calls import load
from whisper_npu_cli.engines.numba_decoder.compiling import kernel
from whisper_npu_cli.engines.numba_decoder.kinds import F32

@kernel(F32[1])
def double(i, arguments):
    (x,) = load(arguments)
    x[i] *= 2

@kernel(F32[1])
def wrong(i, arguments):
    return arguments.nothing
"""
DOUBLE, WRONG = "doubling:double", "doubling:wrong"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module of two kernels, which a process finds that has just started."""
    path = tmp_path / "doubling.py"
    path.write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return path


def double(kernel: Kernel, value: float) -> float:
    x = np.array([0, value], np.float32)
    kernel(1, x)
    return float(x[1])


@pytest.mark.usefixtures("module")
def test_a_kernel_is_compiled_by_another_process() -> None:
    assert not Kernel(DOUBLE).is_stored()
    assert double(Kernel(DOUBLE), 1.5) == 3.0
    assert "doubling" not in sys.modules
    assert Kernel(DOUBLE).is_stored()
    assert not Kernel(WRONG).is_stored()


def test_compiles_again_when_anything_has_changed(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_all([Kernel(DOUBLE)])
    assert Compilation([Kernel(DOUBLE)], 1).names == []
    with monkeypatch.context() as patched:
        patched.setattr(code, "STAMP", "another")
        assert not Kernel(DOUBLE).is_stored()
    with monkeypatch.context() as patched:
        patched.setattr(code, "_read_numba_version", lambda: b"another")
        assert not Kernel(DOUBLE).is_stored()
    with monkeypatch.context() as patched:
        patched.setattr(code, "_read_cpu", lambda: ("another", ""))
        assert not Kernel(DOUBLE).is_stored()
    assert Kernel(DOUBLE).is_stored()
    module.write_text(MODULE.replace("*= 2", "*= 3"), encoding="utf-8")
    assert not Kernel(DOUBLE).is_stored()


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", lambda data: data[: len(data) // 2], lambda data: data[:-1] + b"?"],
    ids=["empty", "cut", "a byte"],
)
def test_damaged_code_is_compiled_again(module: Path, damage: Any) -> None:
    load_all([Kernel(DOUBLE)])
    (stored,) = module.parent.rglob("doubling.double.*.code")
    stored.write_bytes(damage(stored.read_bytes()))
    again = Kernel(DOUBLE)
    assert not again.is_stored()
    assert double(again, 21.0) == 42.0
    assert Kernel(DOUBLE).is_stored()


@pytest.mark.usefixtures("module")
def test_what_cannot_be_compiled_is_an_error() -> None:
    with pytest.raises(DeviceError, match="cannot be compiled"):
        load_all([Kernel(DOUBLE), Kernel(WRONG)])
    assert Kernel(DOUBLE).is_stored()


@pytest.mark.usefixtures("module")
def test_a_compilation_that_nobody_waits_for_is_ended() -> None:
    with Compilation([Kernel(DOUBLE)], 1) as compilation:
        (process,) = compilation._processes
    assert process.returncode is not None


def refuse_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


@pytest.mark.usefixtures("module")
def test_no_folder_for_compiled_code_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_files(monkeypatch)
    with pytest.raises(DeviceError, match="cannot be stored") as error:
        load_all([Kernel(DOUBLE)])
    assert "NUMBA_CACHE_DIR" in str(error.value.hint)


def test_code_is_in_the_users_folder_where_that_of_the_module_cannot_be_written(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (module.parent / "__pycache__").write_bytes(b"")  # no folder, also for root
    assert double(Kernel(DOUBLE), 2.0) == 4.0
    assert list((tmp_path / "cache").rglob("doubling.double.*.code"))


@pytest.mark.usefixtures("module")
def test_code_beside_a_module_that_cannot_be_written_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a container: installed and compiled by root, run by a user without a home."""
    load_all([Kernel(DOUBLE)])
    refuse_files(monkeypatch)
    assert double(Kernel(DOUBLE), 21.0) == 42.0


@pytest.mark.parametrize(("cross_kv", "other"), [("int8", "f32"), ("f32", "int8")])
def test_a_run_compiles_cross_attention_in_one_precision(cross_kv: Any, other: str) -> None:
    names = [kernel.name for kernel in list_kernels(EngineOptions(cross_kv=cross_kv))]
    assert len(set(names)) == len(names)
    assert any(name.endswith(f"cross_attend_{cross_kv}") for name in names)
    assert not any(name.endswith(f"cross_attend_{other}") for name in names)


DECODES = """
import sys
import numpy as np
from dataclasses import replace
from tests.support.tiny_model import TINY_DIMS
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.engines.base import EncodedWindow
from whisper_npu_cli.engines.numba_decoder.decoder import NumbaDecoder
from whisper_npu_cli.engines.numba_decoder.logits import log_softmax

dims = replace(TINY_DIMS, n_audio_state=192, n_audio_head=3, n_text_state=192, n_text_head=3)
rng = np.random.default_rng(0)
shape = dims.n_text_layer, dims.n_audio_ctx, dims.n_text_state
keys, values = rng.standard_normal((2, *shape), np.float32)
decoder = NumbaDecoder(random_checkpoint(dims))
window = decoder.cross_kv(EncodedWindow(np.zeros(shape[1:], np.float32), keys, values))
session = decoder.start([window], 5)
session.prefill(np.array([[7, 8, 9]]), (2,))
session.gather(np.zeros(5, np.int64))
for token in range(20):
    logprobs = log_softmax(session.step(np.arange(5) + token))
sys.stdout.buffer.write(logprobs.tobytes())
sys.stderr.write(f"with numba: {'numba' in sys.modules}")
"""


def test_the_first_run_decodes_as_all_later_ones_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    command = [sys.executable, "-c", DECODES]
    first, second = (subprocess.run(command, capture_output=True, check=False) for _ in range(2))
    assert first.stderr == second.stderr == b"with numba: False"
    assert first.stdout
    assert first.stdout == second.stdout
