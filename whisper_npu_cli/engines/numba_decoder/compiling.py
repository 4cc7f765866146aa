"""Compiles the kernels once per machine, and says so before it does.

Numba stores machine code beside the module, or, where that folder cannot be written, in the
user's cache folder; NUMBA_CACHE_DIR overrides both. It compiles again when a file of this
package, the CPU or numba's version has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from numba import config, get_num_threads, njit, set_num_threads, typeof
from numba.core.caching import FunctionCache
from numba.core.event import Event, Listener, install_listener

from whisper_npu_cli.errors import DeviceError

Notice: TypeAlias = Callable[[], None]

# Reassociation lets LLVM split a sum into vector lanes; without it nothing here vectorises. Only
# compiled code calls these functions: they need no wrapper for Python, 10 % of the compile time.
serial = njit(fastmath=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let parallel loops of this thread run on `n` threads, and afterwards on as many as before.

    The environment variable NUMBA_NUM_THREADS may allow fewer.
    """
    before = get_num_threads()
    set_num_threads(min(n, config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        set_num_threads(before)


class _CompileListener(Listener):  # type: ignore[misc]
    """Calls `notice` when numba first finds no stored code and starts to compile."""

    def __init__(self, notice: Notice) -> None:
        self._notice: Notice | None = notice

    def on_start(self, event: Event) -> None:  # noqa: ARG002
        notice, self._notice = self._notice, None
        if notice:
            notice()

    def on_end(self, event: Event) -> None:
        """Do nothing; numba requires the method."""


class PackageCache(FunctionCache):  # type: ignore[misc]
    """Stored code of a function and of all that it calls.

    Numba's own cache notices changes in a function's file, but none in the files that it imports.
    """

    STAMP = hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    ).hexdigest()

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), self.STAMP)


def compile_once(kernel: Any, arguments: tuple[Any, ...], notice: Notice) -> None:
    """Compile `kernel` for the types of `arguments`, or load the code that numba has stored.

    `notice` is called before a compilation. The types of arrays hold no shape, so one compilation
    serves every model and batch. DeviceError where numba can store nothing.
    """
    types = tuple(typeof(argument) for argument in arguments)
    if types in kernel.overloads:
        return
    try:
        kernel._cache = PackageCache(kernel.py_func)
    except RuntimeError as error:
        raise DeviceError(
            f"compiled code cannot be stored: {error}",
            hint="set NUMBA_CACHE_DIR to a folder that can be written",
        ) from error
    with install_listener("numba:compile", _CompileListener(notice)):
        kernel.compile(types)
