"""Options to a loaded encoder and decoder, and why these; any number of threads may share them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from whisper_npu_cli.audio.mel import HostMel, MelEngine
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.devices import AUTO, AUTO_ORDER, find_device, import_target
from whisper_npu_cli.engines.base import Decoder, DeviceEncoder, Encoder
from whisper_npu_cli.engines.fallback import FallbackEncoder
from whisper_npu_cli.engines.mel import EncoderMel
from whisper_npu_cli.engines.turns import Turns
from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.options import EngineOptions

if TYPE_CHECKING:
    from whisper_npu_cli.engines.numba_decoder.code import Compilation

USING_CPU = "using the CPU: "  # how a notice begins that tells why
# Of the whole process, as the decoders' threads are
_DECODING = Turns()


@dataclass(frozen=True)
class Engines:
    """What computes the two heavy stages, one caller at a time."""

    encoder: Encoder
    decoder: Decoder
    device: str
    reason: str  # why `auto` chose this device, for stderr and the JSON
    n_threads: int
    incidents: list[str] = field(default_factory=list)  # failures that `auto` went on from
    mel_by_encoder: bool = False  # which is a DeviceEncoder then
    _encoding: Turns = field(default_factory=Turns)

    @property
    def device_in_use(self) -> str:
        """The device that encodes now: the last of `auto` once it went on from a failure."""
        return AUTO_ORDER[-1] if self.incidents else self.device

    @property
    def mel(self) -> MelEngine:
        """What computes mel power."""
        if self.mel_by_encoder:
            return EncoderMel(cast(DeviceEncoder, self.encoder), self._encoding)
        return HostMel(self.encoder.dims.n_mels)

    @contextmanager
    def encoding(self) -> Iterator[Encoder]:
        """Have the encoder to oneself. From any thread, which waits for its turn."""
        with self._encoding:
            yield self.encoder

    @contextmanager
    def decoding(self) -> Iterator[Decoder]:
        """Have the decoder, whose sessions share its caches, and all threads to oneself.

        From any thread, which waits for its turn.
        """
        from whisper_npu_cli.engines.numba_decoder.threads import threads

        with _DECODING, threads(self.n_threads):
            yield self.decoder

    def close(self) -> None:
        """Release both engines."""
        self.encoder.close()
        self.decoder.close()


def load_engines(
    checkpoint: Checkpoint, options: EngineOptions, notice: Callable[[str], None]
) -> Engines:
    """Load the engines of `options.device`; `notice` gets a line before anything slow.

    Raises DeviceError for a device that cannot be used; `auto` then takes the next and says why.
    The encoder comes first: while it is loaded its weights are in memory twice. The decoder is
    compiled meanwhile, where it has to be.
    """
    incidents: list[str] = []
    with _compile(options, notice) as compilation:
        if options.device == AUTO:
            encoder, device, reason = _load_first_that_works(checkpoint, options, notice, incidents)
        else:
            device, reason = options.device, "asked for"
            encoder = load_encoder(checkpoint, options)
        decoder = _decoder_beside(encoder, checkpoint, options.for_device(device), compilation)
    by_encoder = isinstance(encoder, DeviceEncoder) and options.mel == "npu"
    n_threads = options.thread_count
    return Engines(encoder, decoder, device, reason, n_threads, incidents, by_encoder)


def _compile(options: EngineOptions, notice: Callable[[str], None]) -> Compilation:
    """Begin to compile what the decoder of `options.device` needs and nobody has stored."""
    from whisper_npu_cli.engines.numba_decoder.code import Compilation

    device = AUTO_ORDER[-1] if options.device == AUTO else options.device
    kernels = import_target(find_device(device).kernels)(options)
    compilation = Compilation(kernels, options.thread_count)
    if compilation.names:
        n = len(compilation.names)
        notice(f"compiling the decoder for this processor: {n} parts, once on this machine")
    return compilation


def load_encoder(checkpoint: Checkpoint, options: EngineOptions) -> Encoder:
    """Load the encoder of `options.device`, which is in the table of devices."""
    encoder: Encoder = import_target(find_device(options.device).encoder)(checkpoint, options)
    return encoder


def _load_first_that_works(
    checkpoint: Checkpoint,
    options: EngineOptions,
    notice: Callable[[str], None],
    incidents: list[str],
) -> tuple[Encoder, str, str]:
    """Return the encoder of the NPU where it works, else of the CPU, its device, and why that."""
    npu, cpu = (options.for_device(name) for name in AUTO_ORDER)

    def on_failure(error: DeviceError) -> None:
        incidents.append(str(error))
        notice(f"the NPU failed, the CPU goes on: {error}")

    try:
        encoder = load_encoder(checkpoint, npu)
    except DeviceError as error:
        notice(f"{USING_CPU}{error}")
        return load_encoder(checkpoint, cpu), cpu.device, str(error)
    reason = "its known-answer tests passed"
    notice(f"using the NPU: {reason}")
    assert isinstance(encoder, DeviceEncoder)
    lasting = FallbackEncoder(encoder, lambda: load_encoder(checkpoint, cpu), on_failure)
    return lasting, npu.device, reason


def _decoder_beside(
    encoder: Encoder,
    checkpoint: Checkpoint,
    options: EngineOptions,
    compilation: Compilation,
) -> Decoder:
    """Load the compiled decoder; where that fails, close `encoder`, which nobody else has yet."""
    from whisper_npu_cli.engines.numba_decoder.threads import threads

    try:
        compilation.wait()
        with _DECODING, threads(options.thread_count):
            load = import_target(find_device(options.device).decoder)
            decoder: Decoder = load(checkpoint, options)
            return decoder
    except BaseException:
        encoder.close()
        raise
