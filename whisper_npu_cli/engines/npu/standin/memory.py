"""pyxrt's buffer object."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.engines.npu.standin import chip as chips
from whisper_npu_cli.engines.npu.standin.enums import ScopedEnum, expect, xclBOSyncDirection
from whisper_npu_cli.engines.npu.standin.images import device


class bo:  # noqa: N801
    """A buffer with a host image and a device image; only `sync` copies between them."""

    class flags(ScopedEnum):  # noqa: N801
        """Kinds of memory."""

        normal = 0
        cacheable = 1 << 24
        svm = 1 << 27
        device_only = 1 << 28
        host_only = 1 << 29
        p2p = 1 << 30

    normal = flags.normal
    cacheable = flags.cacheable
    svm = flags.svm
    device_only = flags.device_only
    host_only = flags.host_only
    p2p = flags.p2p

    def __init__(self, *args: Any) -> None:
        expect("bo", args, (device, int, bo.flags, int), (bo, int, int))
        if isinstance(args[0], bo):
            parent, size, offset = args
            if size <= 0 or offset < 0 or offset + size > parent.size():
                raise RuntimeError("sub buffer size and offset")
            self._parent = parent
            self._bank = parent._bank
            self._host = parent._host[offset : offset + size]
            self._image = parent._image[offset : offset + size]
            return
        _, size, self._flags, group = args
        if size <= 0:
            raise RuntimeError("invalid buffer size (EINVAL)")
        self._bank = group & 0xFFFF
        self._host = np.full(size, chips.POISON, np.uint8)
        self._image = np.full(size, chips.POISON, np.uint8)
        death = weakref.finalize(self, self._host.fill, chips.POISON)  # views of map() die with it
        death.atexit = False  # type: ignore[misc]

    def write(self, data: Any, seek: int, /) -> None:
        """Copy the bytes from the first address on, ignoring strides, to the host image."""
        source = np.asarray(data)
        if not source.flags.c_contiguous:  # the binding would write wrong bytes
            raise RuntimeError("stand-in: write() of a strided array")
        source = source.reshape(-1).view(np.uint8)
        self._check(source.size, seek, "write")
        self._host[seek : seek + source.size] = source

    def read(self, size: int, skip: int, /) -> NDArray[np.int8]:
        """Return a copy from the host image."""
        self._check(size, skip, "read")
        copy: NDArray[np.int8] = self._host[skip : skip + size].view(np.int8).copy()
        return copy

    def sync(self, direction: xclBOSyncDirection, *span: int) -> None:
        """Copy between the images, all or `size, offset`."""
        expect("sync", (direction, *span), (xclBOSyncDirection,), (xclBOSyncDirection, int, int))
        size, offset = span or (self.size(), 0)
        if offset + size > self.size():
            raise RuntimeError("offset exceeds buffer size")
        here, there = self._host, self._image
        if direction is xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE:
            here, there = there, here
        there[offset : offset + size] = here[offset : offset + size]
        chips.get_current().charge_sync(size)

    def map(self) -> memoryview:
        """Return a writable view of the host image, which does not keep the buffer alive."""
        return memoryview(self._host)

    def size(self) -> int:
        """Return the size in bytes."""
        return int(self._host.nbytes)

    def address(self) -> int:
        """Return an address on the device."""
        return int(self._image.ctypes.data)

    def _check(self, size: int, offset: int, verb: str) -> None:
        if offset < 0 or offset + size > self.size():
            raise RuntimeError(f"attempting to {verb} past buffer size")
