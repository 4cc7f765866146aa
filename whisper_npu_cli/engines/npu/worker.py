"""The process that owns the NPU: `python -m … SOCKET`, started by `remote.py`.

With `--exact` it is `mlir.simulate.worker`, which opens another stand-in and serves likewise.

pyxrt holds the interpreter lock while the device works, so nothing else can run in this process.
A thread sends a beat twice a second. Where the device freezes the process, the beats stop and the
parent notices; if the parent is gone too, the kernel's alarm ends the process.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.engines.base import EncodedWindow
from whisper_npu_cli.engines.npu.manifest import HINT_BUILD, find_manifest, load_manifest, verify
from whisper_npu_cli.engines.npu.plan import plan_encoder
from whisper_npu_cli.engines.npu.shared import SharedWindow, map_window
from whisper_npu_cli.engines.npu.xrt import XrtRuntime, import_pyxrt
from whisper_npu_cli.errors import OverlayError, WhisperNpuError

if TYPE_CHECKING:
    from whisper_npu_cli.engines.npu.encoder import NpuEncoder
    from whisper_npu_cli.engines.npu.standin.open import Operators

BEAT_S = 0.5
ALARM_S = 10  # without a beat; must exceed the parent's patience
MAX_MESSAGE = 65_536


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is told at its start."""

    model: str  # a name, or an absolute folder
    device: str  # npu or sim
    attempt: int  # how many workers of this run came before
    xclbins: str | None  # folder with the manifest; None: where it is looked for
    exact: bool  # with sim: run the overlay's own designs and kernels
    chained: bool  # submit commands in run lists, if these work


def send(channel: socket.socket, kind: str, **fields: Any) -> None:
    """Send one message."""
    channel.send(json.dumps({"kind": kind, **fields}).encode())


def make_prefix(pid: int) -> str:
    """Return what the names of a worker's temporary folders begin with."""
    return f"whisper-npu-{pid}-"


def main(open_encoder: Callable[[WorkerOptions], NpuEncoder]) -> None:
    """Open the encoder that the parent asks for and serve windows until it hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group; the parent decides
    channel = socket.socket(fileno=int(sys.argv[1]))
    options = WorkerOptions(**json.loads(channel.recv(MAX_MESSAGE)))
    threading.Thread(target=_beat, args=(channel,), daemon=True).start()
    try:
        encoder = open_encoder(options)
        send(
            channel,
            "ready",
            name=encoder.name,
            mel_name=encoder.mel_name,
            clock_mhz=encoder.clock_mhz,
            known_answer_ms=encoder.known_answer_ms,
        )
        _serve(channel, encoder)
    except WhisperNpuError as error:
        send(channel, "failed", type=type(error).__name__, message=str(error), hint=error.hint)


def open_encoder(options: WorkerOptions) -> NpuEncoder:
    """Open the device that `options` names, with the model's weights on it."""
    if options.device == "sim":
        from whisper_npu_cli.engines.npu.standin.build import make_operators

        return open_simulated(options, make_operators)
    checkpoint = open_checkpoint(options.model, offline=True)
    path = find_manifest(Path(options.xclbins) if options.xclbins else None)
    if path is None:
        raise OverlayError("the NPU overlay is not built", hint=HINT_BUILD)
    manifest = load_manifest(path)
    verify(manifest)
    runtime = XrtRuntime(import_pyxrt())
    return _import_encoder()(checkpoint, runtime, manifest, chained=options.chained)


def open_simulated(options: WorkerOptions, operators: Operators) -> NpuEncoder:
    """Open the stand-in, whose instruction streams compute what `operators` says."""
    from whisper_npu_cli.engines.npu.standin.open import open_standin

    checkpoint = open_checkpoint(options.model, offline=True)
    specs = plan_encoder(checkpoint.dims).specs
    with TemporaryDirectory(prefix=make_prefix(os.getpid())) as folder:
        standin = open_standin(Path(folder), specs, options.attempt, operators)
        return _import_encoder()(checkpoint, *standin, chained=options.chained)


def _import_encoder() -> type[NpuEncoder]:
    """Import it in the worker alone: the parent process imports this module, and not numba."""
    from whisper_npu_cli.engines.npu.encoder import NpuEncoder

    return NpuEncoder


def _serve(channel: socket.socket, encoder: NpuEncoder) -> None:
    inbox = _Inbox(channel, encoder.dims)
    while (request := inbox.receive()) is not None:
        if request.work == "mel":
            encoder.compute_mel_power_into(request.window.samples, request.window.power)
            send(channel, "done")
        else:
            for proof in encoder.encode_into(inbox.follow(request)):
                send(channel, "done", proof=asdict(proof))


@dataclass(frozen=True)
class _Request:
    """What the parent asks for, "mel" or "encode", and the window that it has filled."""

    work: str
    window: SharedWindow


class _Inbox:
    """The requests of the parent, in order."""

    def __init__(self, channel: socket.socket, dims: ModelDims) -> None:
        self._channel = channel
        self._dims = dims
        self._windows: dict[int, SharedWindow] = {}
        self._held: _Request | None = None

    def receive(self) -> _Request | None:
        """Wait for the next request; None where the parent has hung up."""
        if self._held is not None:
            held, self._held = self._held, None
            return held
        try:
            message, files, _, _ = socket.recv_fds(self._channel, MAX_MESSAGE, 1)
        except ConnectionResetError:  # the parent hung up with beats unread
            return None
        if not message:
            return None
        request = json.loads(message)
        if files:
            self._windows[request["window"]] = map_window(files[0], self._dims)
            os.close(files[0])
        return _Request(request["work"], self._windows[request["window"]])

    def follow(self, first: _Request) -> Iterator[tuple[NDArray[np.float32], EncodedWindow]]:
        """Yield the window to encode, then the others that wait when they are asked for."""
        yield first.window.mel, first.window.encoded
        while select([self._channel], [], [], 0)[0]:
            request = self.receive()
            if request is None or request.work != "encode":
                self._held = request
                return
            yield request.window.mel, request.window.encoded


def _beat(channel: socket.socket) -> None:
    while True:
        signal.alarm(ALARM_S)
        try:
            channel.send(b'{"kind": "beat"}', socket.MSG_DONTWAIT)
        except BlockingIOError:  # the parent is busy and has beats enough to read
            pass
        except OSError:  # the parent is gone
            os._exit(0)
        time.sleep(BEAT_S)


if __name__ == "__main__":
    main(open_encoder)
