"""pyxrt's device, xclbin and hardware context."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

from whisper_npu_cli.engines.npu.standin import chip as chips
from whisper_npu_cli.engines.npu.standin.enums import expect, xrt_info_device
from whisper_npu_cli.engines.npu.timing_model import CLOCK_MHZ
from whisper_npu_cli.engines.npu.xclbin import XclbinInfo, inspect_xclbin
from whisper_npu_cli.errors import OverlayError

HOST_BANK, SRAM_BANK = 0, 1


class uuid:  # noqa: N801
    """Identity of an xclbin; compares by object only, like the binding's."""

    def __init__(self, text: str, /) -> None:
        self._text = text

    def to_string(self) -> str:
        """Return the canonical text."""
        return self._text


class xclbin:  # noqa: N801
    """An xclbin file."""

    class xclbinip:  # noqa: N801
        """An IP; nothing returns one."""

        def get_name(self) -> str:
            """Return an empty name."""
            return ""

    class xclbinkernel:  # noqa: N801
        """A kernel of the xclbin."""

        def __init__(self, *args: Any) -> None:
            self._name, self._n_args = args or ("", 0)

        def get_name(self) -> str:
            """Return the name."""
            return str(self._name)

        def get_num_args(self) -> int:
            """Return the number of arguments."""
            return int(self._n_args)

    class xclbinmem:  # noqa: N801
        """A memory bank."""

        def __init__(self, *args: Any) -> None:
            self._tag, self._index = args or ("", 0)

        def get_tag(self) -> str:
            """Return HOST or SRAM."""
            return str(self._tag)

        def get_base_address(self) -> int:
            """Return the bank's base address."""
            return 0

        def get_size_kb(self) -> int:
            """Return the bank's size."""
            return 65536

        def get_used(self) -> bool:
            """Say whether the bank is in use."""
            return True

        def get_index(self) -> int:
            """Return the bank's number."""
            return int(self._index)

    def __init__(self, *args: Any) -> None:
        expect("xclbin", args, (), (str,))
        self._path = str(args[0]) if args else ""
        try:
            self._info = inspect_xclbin(Path(self._path)) if args else XclbinInfo("", {}, 0)
        except OverlayError as damaged:
            raise RuntimeError(str(damaged)) from damaged

    def get_kernels(self) -> list[xclbinkernel]:
        """Return the kernels."""
        return [self.xclbinkernel(*item) for item in self._info.kernels.items()]

    def get_xsa_name(self) -> str:
        """Return the platform's name."""
        return ""

    def get_uuid(self) -> uuid:
        """Return the identity."""
        return uuid(self._info.uuid)

    def get_mems(self) -> list[xclbinmem]:
        """Return the memory banks."""
        return [self.xclbinmem("HOST", HOST_BANK), self.xclbinmem("SRAM", SRAM_BANK)]

    def get_axlf(self) -> Any:
        """Raise TypeError: the binding does not know the type that it would return."""
        raise TypeError("Unable to convert function return value to a Python type! (axlf)")


class device:  # noqa: N801
    """The NPU."""

    def __init__(self, *args: Any) -> None:
        expect("device", args, (), (int,), (str,))
        if args and (chips.get_current().has("no-device") or args[0] not in (0, "0000:c6:00.1")):
            raise RuntimeError(f"No such device with index '{args[0]}'")
        self._xclbins: dict[str, xclbin] = {}

    def register_xclbin(self, image: xclbin, /) -> uuid:
        """Make `image` known to the device; creates no context."""
        expect("register_xclbin", (image,), (xclbin,))
        self._xclbins[image._info.uuid] = image
        return image.get_uuid()

    def load_xclbin(self, _: Any, /) -> uuid:
        """Fail as the legacy call does on an NPU."""
        raise RuntimeError("load_axlf: Operation not supported")

    def get_xclbin_uuid(self) -> uuid:
        """Return the null identity: nothing is ever loaded the legacy way."""
        return uuid("00000000-0000-0000-0000-000000000000")

    def get_info(self, key: xrt_info_device, /) -> str:
        """Return text for every key, as the binding does."""
        expect("get_info", (key,), (xrt_info_device,))
        texts = {
            xrt_info_device.bdf: "0000:c6:00.1",
            xrt_info_device.name: "RyzenAI-npu1",
            xrt_info_device.max_clock_frequency_mhz: str(CLOCK_MHZ),
        }
        return texts.get(key, "0")


class hw_context:  # noqa: N801
    """One of the chip's six contexts; freed when the last object that refers to it dies."""

    def __init__(self, *args: Any) -> None:
        expect("hw_context", args, (), (device, uuid))
        if not args:
            return
        owner, identity = args
        image = owner._xclbins.get(identity.to_string())
        if image is None:
            raise RuntimeError(f"xclbin {identity.to_string()} is not registered")
        self._chip = chips.get_current()
        self._image: xclbin = image
        self._slot = self._chip.open_context(image._path)
        weakref.finalize(self, self._chip.close_context, self._slot)
