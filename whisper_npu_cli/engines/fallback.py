"""The encoder of `--device auto`: the NPU until it fails, then the CPU from that window on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.engines.base import EncodedWindow, Encoder
from whisper_npu_cli.errors import DeviceError


class FallbackEncoder:
    """Encode with `first`; when its device fails, tell `on_failure` and go on with `second()`."""

    def __init__(
        self,
        first: Encoder,
        second: Callable[[], Encoder],
        on_failure: Callable[[DeviceError], None],
    ) -> None:
        self.dims = first.dims
        self._encoder = first
        self._second: Callable[[], Encoder] | None = second
        self._on_failure = on_failure

    @property
    def name(self) -> str:
        """The name of the encoder in use."""
        return self._encoder.name

    @property
    def leaves_cpu(self) -> bool:
        """Whether the encoder in use computes elsewhere."""
        return self._encoder.leaves_cpu

    def encode(self, mel: NDArray[np.float32]) -> EncodedWindow:
        """Encode one window `mel` of shape (n_mels, N_FRAMES), by `second` if `first` fails."""
        try:
            return self._encoder.encode(mel)
        except DeviceError as error:
            if self._second is None:
                raise
            self._on_failure(error)
            self._encoder.close()
            self._encoder, self._second = self._second(), None
            return self._encoder.encode(mel)

    def close(self) -> None:
        """Release the encoder in use."""
        self._encoder.close()
