"""Machine code of kernels: where it is stored, whether it is there, how it is loaded and called.

Nothing of numba is imported here: with what it imports to load code of its own it takes 0.4 s,
LLVM's linker alone 0.06 s. `compiling.py` makes the code, in processes of its own, so that the
first results are those of all later runs.

Code is stored beside its module, or, where that folder cannot be written, in the user's cache
folder; NUMBA_CACHE_DIR overrides both. It is made again when a file of this package, its module,
the CPU or numba's version has changed.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from whisper_npu_cli.environment import find_cache_folder, make_command
from whisper_npu_cli.errors import DeviceError

PACKAGE = "whisper_npu_cli.engines.numba_decoder"
STAMP = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()

_SUFFIXES = (".code", ".nbi", ".nbc")  # the others are those of former versions
_DIGEST_BYTES = 32
_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_char_p)
_WORD = struct.Struct("q")
# What numba's code calls where a function raises an exception, which no kernel does
_NEVER_CALLED = (
    *("numba_do_raise", "numba_unpickle", "numba_runtime_build_excinfo_struct"),
    *("numba_gil_ensure", "numba_gil_release"),
)
_loading = Lock()
_numbers = count()


class Packed:
    """Arguments in memory as kernels read them, which keeps their arrays.

    They are arrays, C-contiguous and of the types that the kernel was compiled for, integers,
    tuples of such, or packed already.
    """

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self.words = b"".join(map(_lay_out, arguments))

    @cached_property
    def address(self) -> int:
        """Where they lie."""
        return int(np.frombuffer(self.words, np.uint8).ctypes.data)


def _lay_out(value: Any) -> bytes:
    """Return a value as numba has it in memory, where every part takes words of 8 bytes."""
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        # First who owns the memory, which is nobody whom a kernel knows
        words = (0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides)
        return struct.pack(f"{len(words)}q", *words)
    if isinstance(value, Packed):
        return value.words
    if isinstance(value, tuple):
        return b"".join(map(_lay_out, value))
    return _WORD.pack(value)


class Kernel:
    """A function that is compiled apart and stored; it takes a number and packed arguments.

    `name` is "module:function". The types of arrays hold no shape, so one compilation serves every
    model and batch.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._code: Any = None  # of LLVM, which keeps it in memory
        self._symbol = ""

    def __call__(self, i: int, *arguments: Any) -> None:
        """Call it, in this thread; other threads run meanwhile."""
        self.call(i, Packed(*arguments))

    def call(self, i: int, arguments: Packed) -> None:
        """Call it with arguments that are packed."""
        self._function(i, arguments.words)

    @cached_property
    def _function(self) -> Any:
        return _FUNCTION(self.address)

    @cached_property
    def address(self) -> int:
        """Where the code begins, which takes arguments by C's conventions."""
        load_all([self])
        return int(self._code[self._symbol])

    def is_stored(self) -> bool:
        """Tell if code for this machine is loaded or on disk, and whole."""
        return self._code is not None or self._read() is not None

    def load(self) -> bool:
        """Link the stored code into this process; return whether it is there."""
        from llvmlite import binding

        with _loading:
            stored = self._read() if self._code is None else None
            if stored is None:
                return self._code is not None
            symbol, _, image = stored.partition(b"\n")
            self._symbol = symbol.decode()
            library = binding.JITLibraryBuilder().add_object_img(image).add_current_process()
            abort = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
            for name in _NEVER_CALLED:
                library.import_symbol(name, abort)
            name = f"{self.name} {next(_numbers)}"  # LLVM wants another each time
            self._code = library.export_symbol(self._symbol).link(_start_linker(), name)
        return True

    def store(self, symbol: str, image: bytes) -> None:
        """Store an object file, in which `symbol` is the function; DeviceError where none can."""
        content = b"\n".join([symbol.encode(), image])
        folder = self.find_writable()
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
            file.write(self._digest(content) + content)
        Path(file.name).replace(folder / self._file_name)

    def find_writable(self) -> Path:
        """Return the folder in which it is to be stored; DeviceError where there is none."""
        for folder in self.list_folders():
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=folder).close()
                return folder
        raise DeviceError(
            "compiled code cannot be stored: no folder for it can be written",
            hint="set NUMBA_CACHE_DIR to a folder that can be written",
        )

    def list_folders(self) -> list[Path]:
        """Return the folders in which it may be."""
        if chosen := os.environ.get("NUMBA_CACHE_DIR"):
            return [Path(chosen)]
        own = find_cache_folder()
        beside = [source.parent / "__pycache__"] if (source := self._source) else []
        return [*beside, *([own / "whisper-npu" / "code"] if own else [])]

    @cached_property
    def _source(self) -> Path | None:
        module = self.name.partition(":")[0]
        loaded = sys.modules.get(module)  # which may be found no more
        spec = loaded.__spec__ if loaded else find_spec(module)
        return Path(spec.origin) if spec and spec.origin else None

    @property
    def _file_name(self) -> str:
        cpu = hashlib.sha256(repr(_read_cpu()).encode()).hexdigest()[:8]
        return f"{self.name.replace(':', '.')}.{cpu}.code"

    def _read(self) -> bytes | None:
        """Return what is stored; None where it is not, is damaged, or of another version."""
        for folder in self.list_folders():
            with suppress(OSError):
                data = (folder / self._file_name).read_bytes()
                content = data[_DIGEST_BYTES:]
                if data[:_DIGEST_BYTES] == self._digest(content):
                    return content
        return None

    def _digest(self, content: bytes) -> bytes:
        source = self._source.read_bytes() if self._source else b""
        version = repr((STAMP, _read_numba_version(), _read_cpu(), source))
        return hashlib.sha256(version.encode() + content).digest()


@lru_cache
def _start_linker() -> Any:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.create_lljit_compiler()


@lru_cache
def _read_cpu() -> tuple[str, str]:
    """Return the CPU and its features for which numba compiles."""
    from llvmlite import binding

    name, features = (os.environ.get(f"NUMBA_CPU_{what}") for what in ("NAME", "FEATURES"))
    if features is None:
        features = binding.get_host_cpu_features().flatten()
    return name or binding.get_host_cpu_name(), features


@lru_cache
def _read_numba_version() -> bytes:
    """Return the file with numba's version: `importlib.metadata` takes some ms."""
    package = find_spec("numba")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("numba")
    return Path(package.origin).with_name("_version.py").read_bytes()


def list_stored(kernels: Sequence[Kernel]) -> list[Path]:
    """Return the files of compiled code beside those of `kernels`, also of former versions."""
    folders = {folder for kernel in kernels for folder in kernel.list_folders()}
    return sorted(path for folder in folders for path in _list_code(folder))


def _list_code(folder: Path) -> Iterator[Path]:
    with suppress(OSError):  # not there, or it cannot be read
        yield from (path for path in folder.iterdir() if path.suffix in _SUFFIXES)


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
    DeviceError where nothing can be stored.
    """

    def __init__(self, kernels: Sequence[Kernel], n: int) -> None:
        missing = [kernel for kernel in kernels if not kernel.is_stored()]
        for kernel in missing:
            kernel.find_writable()
        self.names = [kernel.name for kernel in missing]
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
    if missing := [kernel for kernel in kernels if not kernel.load()]:
        with Compilation(missing, len(os.sched_getaffinity(0))) as compilation:
            compilation.wait()
        for kernel in missing:
            assert kernel.load()
