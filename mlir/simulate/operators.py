"""The simulated array as operators of the stand-in for pyxrt: what `--exact` computes with.

A manifest in, for each of its instruction streams the design that `make xclbins` would have
lowered to it, run on the bytes of the device images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mlir.simulate.cost import Prediction
from mlir.simulate.run import run_stream
from whisper_npu_cli.engines.npu.manifest import Manifest
from whisper_npu_cli.engines.npu.spec import StreamSpec

Listener = Callable[[StreamSpec, Prediction], None]


class ArrayOperator:
    """One instruction stream, executed by cores, fifos and DMA channels."""

    def __init__(self, spec: StreamSpec, listener: Listener | None) -> None:
        self.spec = spec
        self.sizes = tuple(argument.size_bytes for argument in spec.arguments)
        self.written: tuple[int, ...] = (len(spec.arguments) - 1,)
        self.device_ms = 0.0  # predicted, of the last call, without the dispatch
        self._listener = listener

    def __call__(self, buffers: Sequence[NDArray[np.uint8]]) -> None:
        """Run on the device images of the arguments."""
        images = [image[:size] for image, size in zip(buffers, self.sizes, strict=True)]
        prediction = run_stream(self.spec, images)
        self.device_ms = prediction.array_ms
        if self._listener is not None:
            self._listener(self.spec, prediction)


def make_operators(
    manifest: Manifest, listener: Listener | None = None
) -> dict[str, ArrayOperator]:
    """Return the operators of all streams by the hash of their instructions."""
    return {
        stream.sha256: ArrayOperator(stream.spec, listener)
        for overlay in manifest.overlays
        for stream in overlay.streams
    }
