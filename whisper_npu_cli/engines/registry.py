"""Device name → encoder and decoder, and why these. Engines are imported when they are chosen."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.engines.base import Decoder, Encoder
from whisper_npu_cli.engines.fallback import FallbackEncoder
from whisper_npu_cli.engines.npu.checks import npu_checks
from whisper_npu_cli.engines.npu.machine import Machine
from whisper_npu_cli.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from whisper_npu_cli.engines.npu.remote import RemoteNpuEncoder

Device: TypeAlias = str  # one of DEVICES, or OPENVINO and what OpenVINO calls a device
DEVICES = ("auto", "npu", "cpu", "reference", "sim")
OPENVINO = "openvino:"  # openvino:GPU, openvino:NPU (Intel's), openvino:AUTO, openvino:CPU
STANDIN_VARIABLE = "WHISPER_NPU_STANDIN"  # developers: the stand-in takes the NPU's place


@dataclass(frozen=True)
class EngineOptions:
    """How to compute, not what: none of it may change the text beyond rounding."""

    device: Device = "auto"
    precision: Literal["auto", "bf16", "f32", "int8"] = "auto"  # of OpenVINO's encoder
    cross_kv: Literal["int8", "f32"] = "int8"  # of the decoder's cross-attention cache
    n_threads: int | None = None  # None: all physical cores
    xclbins: Path | None = None  # folder of the NPU overlay; None: where it is looked for
    exact: bool = False  # with device sim: run the overlay's own designs and kernels

    def __post_init__(self) -> None:
        """Raise UsageError for an unknown device (OpenVINO's are looked up later), or threads."""
        if self.device not in DEVICES and not self.device.startswith(OPENVINO):
            raise UsageError(
                f"unknown device {self.device!r}",
                hint=f"one of {', '.join(DEVICES)}, or {OPENVINO}NAME",
            )
        if self.exact and self.device != "sim":
            raise UsageError("--exact needs --device sim")
        n_processors = len(os.sched_getaffinity(0))
        if self.n_threads is not None and not 1 <= self.n_threads <= n_processors:
            raise UsageError(
                f"--threads {self.n_threads}: this process may use from 1 to {n_processors}",
                hint="leave it out to use every physical core",
            )


@dataclass(frozen=True)
class Engines:
    """What computes the two heavy stages."""

    encoder: Encoder
    decoder: Decoder
    device: str
    reason: str  # why `auto` chose this device, for stderr and the JSON
    incidents: list[str] = field(default_factory=list)  # failures that `auto` went on from

    def close(self) -> None:
        """Release both engines."""
        self.encoder.close()
        self.decoder.close()


def load_engines(
    checkpoint: Checkpoint, options: EngineOptions, notice: Callable[[str], None]
) -> Engines:
    """Load the engines of `options.device`; `notice` gets a line before anything slow.

    Raises DeviceError for a device that cannot be used; `auto` then takes the CPU and says why.
    """
    from whisper_npu_cli.engines.numba_decoder.logits import compile_ranking

    # Several kernels are compiled, which is one wait for the user.
    on_compile = cache(partial(notice, "compiling the decoder: about 45 s, once on this machine"))
    compile_ranking(on_compile)
    if options.device == "reference":
        from whisper_npu_cli.engines.reference import ReferenceDecoder, ReferenceEncoder

        return Engines(
            ReferenceEncoder(checkpoint), ReferenceDecoder(checkpoint), "reference", "asked for"
        )
    if options.device == "auto":
        return _load_auto(checkpoint, options, notice, on_compile)
    if options.device == "cpu":
        encoder = _cpu_encoder(checkpoint, options)
    elif options.device.startswith(OPENVINO):
        encoder = _openvino_encoder(checkpoint, options, options.device.removeprefix(OPENVINO))
    else:
        encoder = load_npu_encoder(checkpoint, options)
    decoder = _decoder_beside(encoder, checkpoint, options, on_compile)
    return Engines(encoder, decoder, options.device, "asked for")


def _load_auto(
    checkpoint: Checkpoint,
    options: EngineOptions,
    notice: Callable[[str], None],
    on_compile: Callable[[], None],
) -> Engines:
    """Take the NPU where it works, and the CPU from where it does not.

    The encoder comes first: while it is loaded its weights are in memory twice.
    """
    incidents: list[str] = []

    def on_failure(error: DeviceError) -> None:
        incidents.append(str(error))
        notice(f"the NPU failed, the CPU goes on: {error}")

    try:
        npu = load_npu_encoder(checkpoint, options)
    except DeviceError as error:
        notice(f"using the CPU: {error}")
        cpu = _cpu_encoder(checkpoint, options)
        decoder = _decoder_beside(cpu, checkpoint, options, on_compile)
        return Engines(cpu, decoder, "cpu", str(error))
    reason = "its known-answer tests passed"
    notice(f"using the NPU: {reason}")
    encoder = FallbackEncoder(npu, lambda: _cpu_encoder(checkpoint, options), on_failure)
    decoder = _decoder_beside(encoder, checkpoint, options, on_compile)
    return Engines(encoder, decoder, "npu", reason, incidents)


def load_npu_encoder(checkpoint: Checkpoint, options: EngineOptions) -> RemoteNpuEncoder:
    """Open the NPU, or its stand-in; DeviceError with the cause where that fails."""
    from whisper_npu_cli.engines.npu.remote import RemoteNpuEncoder

    is_standin = options.device == "sim" or os.environ.get(STANDIN_VARIABLE)
    if not is_standin:
        for check in npu_checks(Machine(), options.xclbins):
            if not check.passed:
                why = f"{check.cause} ({check.detail})" if check.cause else check.detail
                raise DeviceError(why, hint=check.hint)
    xclbins = str(options.xclbins) if options.xclbins else None
    device = "sim" if is_standin else "npu"
    return RemoteNpuEncoder(checkpoint, device, xclbins, exact=options.exact)


def _cpu_encoder(checkpoint: Checkpoint, options: EngineOptions) -> Encoder:
    return _openvino_encoder(checkpoint, options, "CPU")


def _openvino_encoder(checkpoint: Checkpoint, options: EngineOptions, device: str) -> Encoder:
    from whisper_npu_cli.engines.openvino_encoder.encoder import OpenVinoEncoder

    return OpenVinoEncoder(
        checkpoint, precision=options.precision, n_threads=_n_threads(options), device=device
    )


def _decoder_beside(
    encoder: Encoder, checkpoint: Checkpoint, options: EngineOptions, on_compile: Callable[[], None]
) -> Decoder:
    """Load the decoder; where that fails, close `encoder`, which nobody else has yet."""
    from numba import config, set_num_threads

    from whisper_npu_cli.engines.numba_decoder.decoder import NumbaDecoder

    try:
        # The environment variable NUMBA_NUM_THREADS may allow fewer.
        set_num_threads(min(_n_threads(options), config.NUMBA_NUM_THREADS))
        return NumbaDecoder(checkpoint, cross_kv=options.cross_kv, on_compile=on_compile)
    except BaseException:
        encoder.close()
        raise


def _n_threads(options: EngineOptions) -> int:
    """Return the threads to use: what was asked for, or one for each physical core.

    Both engines are bound by arithmetic or memory, so a second thread on a core only waits.
    """
    if options.n_threads is not None:
        return options.n_threads
    return len({_siblings(processor) for processor in os.sched_getaffinity(0)})


def _siblings(processor: int) -> str:
    """Return the processors that share a core with this one, as Linux lists them."""
    path = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
    return path.read_text(encoding="ascii") if path.exists() else str(processor)
