"""The enumerations of pyxrt, as pybind11 makes them: not `IntEnum`, as the stub file has it."""

from __future__ import annotations

import enum


class ScopedEnum(enum.Enum):
    """A pybind11 enum of a scoped enum: never equal to an integer."""

    def __int__(self) -> int:
        return int(self.value)


class CEnum(ScopedEnum):
    """A pybind11 enum of a C enum: equal to its integer, too."""

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, int) and other == self.value)

    def __hash__(self) -> int:
        return hash(self.value)


class xclBOSyncDirection(CEnum):  # noqa: N801
    """Directions of `bo.sync`."""

    XCL_BO_SYNC_BO_TO_DEVICE = 0
    XCL_BO_SYNC_BO_FROM_DEVICE = 1
    XCL_BO_SYNC_BO_GMIO_TO_AIE = 2
    XCL_BO_SYNC_BO_AIE_TO_GMIO = 3


class ert_cmd_state(CEnum):  # noqa: N801
    """States of a command; 3 (running) exists in C and is not bound."""

    ERT_CMD_STATE_NEW = 1
    ERT_CMD_STATE_QUEUED = 2
    ERT_CMD_STATE_COMPLETED = 4
    ERT_CMD_STATE_ERROR = 5
    ERT_CMD_STATE_ABORT = 6
    ERT_CMD_STATE_SUBMITTED = 7
    ERT_CMD_STATE_TIMEOUT = 8
    ERT_CMD_STATE_NORESPONSE = 9
    ERT_CMD_STATE_SKERROR = 10
    ERT_CMD_STATE_SKCRASHED = 11


class xrt_info_device(ScopedEnum):  # noqa: N801
    """Keys of `device.get_info`."""

    bdf = 0
    interface_uuid = 1
    kdma = 2
    max_clock_frequency_mhz = 3
    m2m = 4
    name = 5  # type: ignore[assignment]
    nodma = 6
    offline = 7
    electrical = 8
    thermal = 9
    mechanical = 10
    memory = 11
    platform = 12
    pcie_info = 13
    host = 14
    dynamic_regions = 17
    vmr = 18


class xrt_msg_level(ScopedEnum):  # noqa: N801
    """Levels of `log_message`."""

    emergency = 0
    alert = 1
    critical = 2
    error = 3
    warning = 4
    notice = 5
    info = 6
    debug = 7


def expect(name: str, args: tuple[object, ...], *overloads: tuple[type, ...]) -> None:
    """Raise TypeError, as pybind11 does, where `args` match none of `overloads`."""
    for types in overloads:
        if len(types) == len(args) and all(map(isinstance, args, types)):
            return
    raise TypeError(f"{name}(): incompatible function arguments: {args!r}")
