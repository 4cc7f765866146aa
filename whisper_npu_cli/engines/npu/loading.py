"""`--device npu` and `sim` to their encoders.

What they need is imported where the NPU can be used: most machines have none, and learn it here
at every start.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.engines.npu.checks import npu_checks
from whisper_npu_cli.engines.npu.machine import Machine
from whisper_npu_cli.environment import STANDIN_VARIABLE
from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.options import EngineOptions

if TYPE_CHECKING:
    from whisper_npu_cli.engines.npu.remote import RemoteNpuEncoder


def load_npu(checkpoint: Checkpoint, options: EngineOptions) -> RemoteNpuEncoder:
    """Open the NPU; DeviceError with the cause where that fails.

    A developer's STANDIN_VARIABLE puts the stand-in in its place.
    """
    if os.environ.get(STANDIN_VARIABLE):
        return load_standin(checkpoint, options)
    for check in npu_checks(Machine(), options.xclbins, checkpoint.dims):
        if not check.passed:
            why = f"{check.cause} ({check.detail})" if check.cause else check.detail
            raise DeviceError(why, hint=check.hint)
    from whisper_npu_cli.engines.npu.remote import RemoteNpuEncoder

    return RemoteNpuEncoder(checkpoint, "npu", str(options.xclbins) if options.xclbins else None)


def load_standin(checkpoint: Checkpoint, options: EngineOptions) -> RemoteNpuEncoder:
    """Open the simulated chip."""
    from whisper_npu_cli.engines.npu.remote import RemoteNpuEncoder

    return RemoteNpuEncoder(checkpoint, "sim", exact=options.exact)
