"""Device name → encoder and decoder, and why these. Engines are imported when they are chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from whisper_npu_cli.decoder.base import Decoder
from whisper_npu_cli.encoder.base import Encoder
from whisper_npu_cli.weights import Checkpoint

Device: TypeAlias = Literal["auto", "cpu", "reference"]


@dataclass(frozen=True)
class EngineOptions:
    """How to compute, not what: none of it may change the text beyond rounding."""

    device: Device = "auto"
    precision: Literal["auto", "bf16", "f32"] = "auto"  # of the encoder
    cross_kv: Literal["int8", "f32"] = "int8"  # of the decoder's cross-attention cache
    n_threads: int | None = None  # None: all physical cores


@dataclass(frozen=True)
class Engines:
    """What computes the two heavy stages."""

    encoder: Encoder
    decoder: Decoder
    device: str
    reason: str  # why `auto` chose this device, for stderr and the JSON

    def close(self) -> None:
        """Release both engines."""
        self.encoder.close()
        self.decoder.close()


def load_engines(
    checkpoint: Checkpoint, options: EngineOptions, notice: Callable[[str], None]
) -> Engines:
    """Load the engines of `options.device`; `notice` gets a line before anything slow."""
    if options.device == "reference":
        from whisper_npu_cli.reference import ReferenceDecoder, ReferenceEncoder

        return Engines(
            ReferenceEncoder(checkpoint), ReferenceDecoder(checkpoint), "reference", "asked for"
        )
    from whisper_npu_cli.decoder.cpu import NumbaDecoder
    from whisper_npu_cli.encoder.cpu import OpenVinoEncoder

    reason = "asked for" if options.device == "cpu" else "the NPU path is not built yet"
    return Engines(
        OpenVinoEncoder(checkpoint, precision=options.precision, n_threads=options.n_threads),
        NumbaDecoder(
            checkpoint,
            cross_kv=options.cross_kv,
            on_compile=lambda: notice("compiling the decoder: about 30 s, once on this machine"),
        ),
        "cpu",
        reason,
    )
