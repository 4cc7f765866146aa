"""Compiles the kernels once per machine, in processes of their own, and says so before it does.

Numba stores machine code beside the module, or, where that folder cannot be written, in the
user's cache folder; NUMBA_CACHE_DIR overrides both. It compiles again when a file of this
package, the CPU or numba's version has changed.

A process that decodes compiles nothing: it loads what others have stored, the first time too, so
that the first results are those of all later runs.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from numba import config, get_num_threads, njit, set_num_threads, types
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    InTreeCacheLocator,
)

from whisper_npu_cli.environment import make_command
from whisper_npu_cli.errors import DeviceError

_DIGEST_BYTES = 32

# Reassociation lets LLVM split a sum into vector lanes; without it nothing here vectorises. Nothing
# is allocated, so numba need not count references, which took a tenth of the time.
FAST: dict[str, Any] = {"fastmath": True, "error_model": "numpy", "_nrt": False}
# Only compiled code calls these functions: they need no wrapper for Python or C.
serial = njit(**FAST, no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = njit(**FAST, inline="always")  # compiled with its caller alone


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


class _CheckedFiles(IndexDataCacheFile):  # type: ignore[misc]
    """Numba's files of stored code, each behind a digest of numba's version and of its content.

    One that is damaged is not there, and is compiled again. Numba itself would end on a file that
    is empty or cut, and run whatever another one says.
    """

    def has(self, key: Any) -> bool:
        """Tell if the code for `key` is stored and whole, without loading it."""
        name = self._load_index().get(key)
        if name is None:
            return False
        with suppress(OSError):
            self._read(self._data_path(name))
            return True
        return False

    def _load_index(self) -> dict[Any, str]:
        try:
            stamp, overloads = pickle.loads(self._read(self._index_path))
        except OSError:
            return {}
        return overloads if stamp == self._source_stamp else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_path, self._dump((self._source_stamp, overloads)))

    def _load_data(self, name: str) -> Any:
        return pickle.loads(self._read(self._data_path(name)))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), self._dump(data))

    def _read(self, path: str) -> bytes:
        data = Path(path).read_bytes()
        content = data[_DIGEST_BYTES:]
        if data[:_DIGEST_BYTES] != self._digest(content):
            raise OSError("damaged, or of another version")  # which numba takes for not there
        return content

    def _write(self, path: str, content: bytes) -> None:
        with self._open_for_write(path) as file:
            file.write(self._digest(content) + content)

    def _digest(self, content: bytes) -> bytes:
        return hashlib.sha256(self._version.encode() + content).digest()


class PackageCache(FunctionCache):  # type: ignore[misc]
    """Stored code of a function and of all that it calls.

    Numba's own cache notices changes in a function's file, but none in the files that it imports.
    """

    def __init__(self, function: Any) -> None:
        """Find where the code is stored; RuntimeError where it cannot be."""
        super().__init__(function)
        self._cache_file = _CheckedFiles(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    STAMP = hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    ).hexdigest()

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), self.STAMP)


class _ReadLocator(InTreeCacheLocator):  # type: ignore[misc]
    """The folder beside the module, whether it can be written or not."""

    def ensure_cache_path(self) -> None:
        """Accept it as it is."""


class _ReadImpl(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_ReadLocator,)


class _BesideModule(PackageCache):
    """Code that came with the package, perhaps as another user's: numba wants to write as well."""

    _impl_class = _ReadImpl


class Kernel:
    """A function that is compiled apart, for the types of its arguments, and stored.

    The types of arrays hold no shape, so one compilation serves every model and batch.
    """

    def __init__(self, function: Any, kinds: tuple[Any, ...], **flags: Any) -> None:
        self.name = f"{function.__module__}:{function.__name__}"
        self._kinds = kinds
        self._dispatcher = njit(**FAST | flags)(function)
        self._is_loaded = False

    def __call__(self, *arguments: Any) -> Any:
        """Call the function from Python."""
        if not self._is_loaded:
            load_all([self])
        return self._dispatcher(*arguments)

    @cached_property
    def address(self) -> int:
        """Where the code begins, which takes arguments by C's conventions."""
        if not self._is_loaded:
            load_all([self])
        result = self._dispatcher.overloads[self._kinds]
        name = result.fndesc.llvm_cfunc_wrapper_name
        return int(result.library.get_pointer_to_function(name))

    def is_stored(self) -> bool:
        """Tell if code for this machine is loaded or on disk; DeviceError where it cannot be."""
        if self._is_loaded:
            return True
        _, is_stored = self._open_cache()
        return is_stored

    def compile(self) -> None:
        """Load the stored code; where there is none, compile it in this process, and store it."""
        if self._is_loaded:
            return
        self._dispatcher._cache, _ = self._open_cache()
        self._dispatcher.compile(self._kinds)
        self._is_loaded = True

    @property
    def cache_folder(self) -> str:
        """Where its code is stored; DeviceError where it cannot be."""
        cache, _ = self._open_cache()
        return str(cache.cache_path)

    def _holds(self, cache: PackageCache) -> bool:
        key = cache._index_key(self._kinds, self._dispatcher.targetctx.codegen())
        return bool(cache._cache_file.has(key))

    def _open_cache(self) -> tuple[PackageCache, bool]:
        """Return where its code is or would be stored, and whether it is."""
        function = self._dispatcher.py_func
        try:
            if not config.CACHE_DIR and self._holds(beside := _BesideModule(function)):
                return beside, True
            cache = PackageCache(function)
        except RuntimeError as error:
            raise DeviceError(
                f"compiled code cannot be stored: {error}",
                hint="set NUMBA_CACHE_DIR to a folder that can be written",
            ) from error
        return cache, self._holds(cache)


def kernel(*kinds: Any, **flags: Any) -> Callable[[Any], Kernel]:
    """Make a `Kernel` of a function of a number and of where arguments of these types lie."""
    pointer = types.CPointer(types.BaseTuple.from_types(kinds))
    flags["no_cpython_wrapper"] = True
    return lambda function: Kernel(function, (types.int64, pointer), **flags)


def entry(*kinds: Any, **flags: Any) -> Callable[[Any], Kernel]:
    """Make a `Kernel` of a function that Python calls with arguments of these types."""
    flags["no_cfunc_wrapper"] = True
    return lambda function: Kernel(function, kinds, **flags)


def list_stored(kernels: Sequence[Kernel]) -> list[Path]:
    """Return the files of compiled code beside those of `kernels`, also of former versions."""
    folders = {Path(kernel.cache_folder) for kernel in kernels}
    return sorted(path for folder in folders for path in folder.glob("*.nb[ic]"))


# Each process takes the number of the next kernel from one pipe, so none is idle before the end.
_MAIN = """
import os
from whisper_npu_cli.devices import import_target
names = {names!r}
while number := os.read(0, 1):
    import_target(names[number[0]]).compile()
"""


class Compilation:
    """The compilation of those of `kernels` that are not stored, in at most `n` processes.

    A context manager: at its end no process is left. Numba compiles on one thread at a time.
    """

    def __init__(self, kernels: Sequence[Kernel], n: int) -> None:
        self.names = [kernel.name for kernel in kernels if not kernel.is_stored()]
        code = _MAIN.format(names=self.names)
        queue, end = os.pipe()
        os.write(end, bytes(range(len(self.names))))
        os.close(end)
        self._processes = [
            subprocess.Popen(make_command(code), stdin=queue, stderr=subprocess.PIPE)
            for _ in self.names[:n]
        ]
        os.close(queue)

    def wait(self) -> None:
        """Return when all are stored; DeviceError where one cannot be compiled."""
        for process in self._processes:
            _, complaint = process.communicate()
            if process.returncode:
                lines = complaint.decode(errors="replace").strip().splitlines() or ["no message"]
                raise DeviceError(f"the decoder cannot be compiled: {lines[-1]}")

    def __enter__(self) -> Compilation:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            with process:  # which closes its pipe
                process.kill()


def load_all(kernels: Sequence[Kernel]) -> None:
    """Load the code of `kernels`; what is not stored is compiled first."""
    with Compilation(kernels, get_num_threads()) as compilation:
        compilation.wait()
    for one in kernels:
        one.compile()
