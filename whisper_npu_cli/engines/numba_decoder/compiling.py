"""Compiles kernels with numba, once per machine, and stores their code (`code.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.core.caching import NullCache

from whisper_npu_cli.engines.numba_decoder.code import Kernel

# Reassociation lets LLVM split a sum into vector lanes; without it nothing here vectorises. Nothing
# is allocated, so numba need not count references, which took a tenth of the time.
FAST: dict[str, Any] = {"fastmath": True, "error_model": "numpy", "_nrt": False}
# Only compiled code calls these functions: they need no wrapper for Python or C.
serial = njit(**FAST, no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = njit(**FAST, inline="always")  # compiled with its caller alone


class Source(Kernel):
    """A kernel as Python code, and the types of its arguments."""

    def __init__(self, function: Any, kinds: tuple[Any, ...], **flags: Any) -> None:
        super().__init__(f"{function.__module__}:{function.__name__}")
        self._signature = types.int64, types.CPointer(types.BaseTuple.from_types(kinds))
        self._dispatcher = njit(**FAST | flags, no_cpython_wrapper=True)(function)

    def compile(self) -> None:
        """Compile it in this process and store its code; where it is stored, do nothing."""
        if not self.is_stored():
            self._dispatcher._cache = _Keeper(self)
            self._dispatcher.compile(self._signature)


class _Keeper(NullCache):  # type: ignore[misc]
    """Gets from numba what it has compiled."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def save_overload(self, _signature: Any, result: Any) -> None:
        _, _, (image, _) = result.library.serialize_using_object_code()
        self._kernel.store(result.fndesc.llvm_cfunc_wrapper_name, image)


def kernel(*kinds: Any, **flags: Any) -> Callable[[Any], Source]:
    """Make a `Kernel` of a function of a number and of where arguments of these types lie."""
    return lambda function: Source(function, kinds, **flags)
