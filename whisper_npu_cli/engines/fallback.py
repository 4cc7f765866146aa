"""The encoder of `--device auto`: the NPU until it fails, then the CPU from there on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.mel import HostMel
from whisper_npu_cli.engines.base import DeviceEncoder, EncodedWindow, Encoder
from whisper_npu_cli.errors import DeviceError


class FallbackEncoder:
    """Encode with `first`; when its device fails, tell `on_failure` and go on with `second()`."""

    def __init__(
        self,
        first: DeviceEncoder,
        second: Callable[[], Encoder],
        on_failure: Callable[[DeviceError], None],
    ) -> None:
        self.dims = first.dims
        self._encoder: Encoder = first
        self._first = first
        self._host_mel = HostMel(first.dims.n_mels)
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
            self._replace_first(error)
            return self._encoder.encode(mel)

    def encode_each(self, mels: Sequence[NDArray[np.float32]]) -> Iterator[EncodedWindow]:
        """Yield what `encode` makes of each of `mels`, with several in flight."""
        n_encoded = 0
        if self._second is not None:
            try:
                for window in self._first.encode_each(mels):
                    yield window
                    n_encoded += 1
            except DeviceError as error:
                self._replace_first(error)
        yield from map(self._encoder.encode, mels[n_encoded:])

    @property
    def mel_name(self) -> str:
        """The name of what computes mel power."""
        return "" if self._second is None else self._first.mel_name

    @property
    def n_mel_frames(self) -> int:
        """Frames that are taken at a time."""
        return self._first.n_mel_frames

    def compute_mel_power(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mel power (n_mels, k) of samples (n,), by the host if `first` fails."""
        if self._second is not None:
            try:
                return self._first.compute_mel_power(samples)
            except DeviceError as error:
                self._replace_first(error)
        return self._host_mel.compute_power(samples)

    def _replace_first(self, error: DeviceError) -> None:
        """Go on with the second encoder; raise `error` where that is what failed."""
        if self._second is None:
            raise error
        self._on_failure(error)
        self._encoder.close()
        self._encoder, self._second = self._second(), None

    def close(self) -> None:
        """Release the encoder in use."""
        self._encoder.close()
