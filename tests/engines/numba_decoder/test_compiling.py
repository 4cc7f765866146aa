"""Compiled code is stored once, by other processes, and again when it has changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from numba import types
from numba.core.event import RecordingListener, install_listener

from whisper_npu_cli.engines.numba_decoder import compiling
from whisper_npu_cli.engines.numba_decoder.compiling import Compilation, Kernel, load_all
from whisper_npu_cli.engines.numba_decoder.decoder import list_kernels
from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.options import EngineOptions

MODULE = """
from numba import types
from whisper_npu_cli.engines.numba_decoder.compiling import entry

@entry(types.float64)
def double(x):
    return 2 * x

@entry(types.float64)
def wrong(x):
    return x.nothing
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of two kernels, as a process finds it that has just started."""
    (tmp_path / "doubling.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "doubling", raising=False)
    return __import__("doubling")


def double_anew(module: Any) -> Kernel:
    """The kernel of another process."""
    return Kernel(module.double._dispatcher.py_func, (types.float64,), no_cfunc_wrapper=True)


def test_a_process_that_runs_a_kernel_compiles_nothing(module: Any) -> None:
    with install_listener("numba:compile", RecordingListener()) as seen:
        assert module.double(1.5) == 3.0
    assert seen.buffer == []
    assert double_anew(module).is_stored()
    assert not module.wrong.is_stored()


def test_compiles_again_when_the_package_has_changed(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.double(1.0)
    assert Compilation([double_anew(module)], 1).names == []
    monkeypatch.setattr(compiling.PackageCache, "STAMP", "another")
    assert not double_anew(module).is_stored()


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", lambda data: data[: len(data) // 2], lambda data: data[:-1] + b"?"],
    ids=["empty", "cut", "a byte"],
)
def test_damaged_code_is_compiled_again(module: Any, suffix: str, damage: Any) -> None:
    load_all([module.double])
    (stored,) = Path(module.__file__).parent.rglob(f"*.double-*.{suffix}")
    whole = stored.read_bytes()
    stored.write_bytes(damage(whole))
    again = double_anew(module)
    assert not again.is_stored()
    assert again(21.0) == 42.0
    assert double_anew(module).is_stored()


def test_what_cannot_be_compiled_is_an_error(module: Any) -> None:
    with pytest.raises(DeviceError, match="cannot be compiled"):
        load_all([module.double, module.wrong])
    assert double_anew(module).is_stored()


def test_a_compilation_that_nobody_waits_for_is_ended(module: Any) -> None:
    with Compilation([module.double], 1) as compilation:
        (process,) = compilation._processes
    assert process.returncode is not None


def test_no_folder_for_compiled_code_is_an_error() -> None:
    names: dict[str, Any] = {"__name__": "nowhere"}
    exec("def double(x):\n    return 2 * x", names)  # of no file, and so of no folder
    with pytest.raises(DeviceError, match="no locator available") as error:
        Kernel(names["double"], (types.float64,)).is_stored()
    assert "NUMBA_CACHE_DIR" in str(error.value.hint)


def test_code_beside_a_module_that_cannot_be_written_is_used(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container: installed and compiled by root, run by a user without a home."""

    def refuse(_: object) -> None:
        raise OSError

    load_all([module.double])
    monkeypatch.setattr("numba.core.caching._CacheLocator.ensure_cache_path", refuse)
    again = double_anew(module)
    assert again.is_stored()
    assert again(21.0) == 42.0
    with pytest.raises(DeviceError, match="no locator available"):
        module.wrong.is_stored()


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
from numba.core.event import RecordingListener, install_listener
from tests.support.tiny_model import TINY_DIMS
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.engines.base import EncodedWindow
from whisper_npu_cli.engines.numba_decoder.decoder import NumbaDecoder
from whisper_npu_cli.engines.numba_decoder.logits import log_softmax

dims = replace(TINY_DIMS, n_audio_state=192, n_audio_head=3, n_text_state=192, n_text_head=3)
rng = np.random.default_rng(0)
shape = dims.n_text_layer, dims.n_audio_ctx, dims.n_text_state
keys, values = rng.standard_normal((2, *shape), np.float32)
with install_listener("numba:compile", RecordingListener()) as seen:
    decoder = NumbaDecoder(random_checkpoint(dims))
    window = decoder.cross_kv(EncodedWindow(np.zeros(shape[1:], np.float32), keys, values))
    session = decoder.start([window], 5)
    session.prefill(np.array([[7, 8, 9]]), (2,))
    session.gather(np.zeros(5, np.int64))
    for token in range(20):
        logprobs = log_softmax(session.step(np.arange(5) + token))
sys.stdout.buffer.write(logprobs.tobytes())
sys.stderr.write(f"{len(seen.buffer)} compiled")
"""


def test_the_first_run_decodes_as_all_later_ones_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    command = [sys.executable, "-c", DECODES]
    first, second = (subprocess.run(command, capture_output=True, check=False) for _ in range(2))
    assert first.stderr == second.stderr == b"0 compiled"
    assert first.stdout
    assert first.stdout == second.stdout
