"""The NPU encoder as the pipeline sees it: a worker process behind the encoder seam.

Waiting for the worker lets this process's other threads run. A worker that dies, stops beating,
takes too long for a window or reports a device error is replaced once and the window encoded again;
then the error is raised. Waiting for a run list has no deadline in XRT: this process holds it, and
where one passes, the next worker submits its commands one by one.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from tempfile import gettempdir
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli import errors
from whisper_npu_cli.audio.mel import cut_frames
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.engines.base import EncodedWindow, check_mel
from whisper_npu_cli.engines.npu.plan import MEL_FRAMES
from whisper_npu_cli.engines.npu.shared import SharedWindow, WindowPool
from whisper_npu_cli.engines.npu.worker import MAX_MESSAGE, WorkerOptions, make_prefix
from whisper_npu_cli.errors import DeviceError, OverlayError, WhisperNpuError
from whisper_npu_cli.transcript import DeviceProof

PATIENCE_S = 4.0  # beats come twice a second
START_S = 30.0  # until the first message: interpreter and imports on a busy machine
# Of the NPU, a window of large-v3 takes 4 s at the slowest clock (predicted); simulated ones take
# what the host takes.
WINDOW_S = {"npu": 30.0, "sim": inf}
N_ASKED = 3  # windows: one is read back, one on the device, one laid out
END_S = 2.0  # a worker has so long to end by itself
CHECKOUT = Path(__file__).parents[3]
HINT_GONE = "find out why: sudo dmesg | grep -i amdxdna; whisper-npu doctor --selftest"


class _BlockedError(DeviceError):
    """A worker that was heard before is stuck: it waits for a run list."""


class RemoteNpuEncoder:
    """Encode windows in a worker process that owns the NPU."""

    leaves_cpu = True
    n_mel_frames = MEL_FRAMES

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str,
        xclbins: str | None = None,
        *,
        exact: bool = False,
    ) -> None:
        self.dims = checkpoint.dims
        # a worker of mlir/ has another working directory, so a relative folder would not be found
        model = str(checkpoint.path.absolute()) if checkpoint.path else checkpoint.name
        self._options = WorkerOptions(model, device, 0, xclbins, exact, chained=True)
        self._pool = WindowPool(checkpoint.dims)
        try:
            self._worker = _Worker(self._options)
        except _BlockedError:
            self._start_next_worker(chained=False)
        self.name = self._worker.name
        self.mel_name = self._worker.mel_name
        self.clock_mhz = self._worker.clock_mhz
        self.known_answer_ms = self._worker.known_answer_ms

    def encode(self, mel: NDArray[np.float32]) -> EncodedWindow:
        """Encode one window `mel` of shape (n_mels, N_FRAMES); DeviceError after a replacement."""
        (window,) = self.encode_each([mel])
        return window

    def encode_each(
        self, mels: Sequence[NDArray[np.float32]]
    ) -> Generator[EncodedWindow, None, None]:
        """Yield what `encode` makes of each of `mels`; the worker has the next two meanwhile."""
        for mel in mels:
            check_mel(mel, self.dims)
        left, asked = deque(mels), deque[_Request]()
        try:
            while left or asked:
                while left and len(asked) < N_ASKED:
                    asked.append(_Request("encode", *self._pool.lend()))
                    asked[-1].window.mel[:] = left.popleft()
                proof = DeviceProof(**self._ask(asked)["proof"])
                yield replace(asked.popleft().window.encoded, proof=proof)
        except GeneratorExit:  # given up amid the windows, which the worker has
            while asked:
                self._ask(asked)
                asked.popleft()
            raise

    def compute_mel_power(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mel power (n_mels, k) of the k whole frames of samples (n,)."""
        request = _Request("mel", *self._pool.lend())
        request.window.samples[: len(samples)] = samples
        request.window.samples[len(samples) :] = 0
        self._ask([request])
        return request.window.power[:, : len(cut_frames(samples))]

    def _ask(self, requests: Sequence[_Request]) -> dict[str, Any]:
        """Have the worker, or once the one after it, answer the first request."""
        try:
            return self._worker.ask(requests)
        except OverlayError:
            raise
        except DeviceError as error:
            if self._options.attempt:
                raise
            self._worker.close()
            self._start_next_worker(chained=not isinstance(error, _BlockedError))
            return self._worker.ask(requests)

    def _start_next_worker(self, *, chained: bool) -> None:
        attempt = self._options.attempt + 1
        self._options = replace(self._options, attempt=attempt, chained=chained)
        self._worker = _Worker(self._options)

    def close(self) -> None:
        """End the worker. Calling it twice is allowed."""
        self._worker.close()
        self._pool.close()


@dataclass(frozen=True)
class _Request:
    """Work for the worker, "encode" or "mel", in a window that is filled."""

    work: str
    number: int
    file: int
    window: SharedWindow


class _Worker:
    """One worker process and the socket to it."""

    def __init__(self, options: WorkerOptions) -> None:
        module, cwd = _choose_module(options)
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", module, str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd=cwd
            )
        self._n_unanswered = 0
        self._known: set[int] = set()  # windows whose file the worker has
        self._window_s = WINDOW_S[options.device]
        self._heard = False
        try:
            self._channel.send(json.dumps(asdict(options)).encode())
            ready = self._receive("ready", START_S, inf)
        except BaseException:
            self.close()
            raise
        self.name = str(ready["name"])
        self.mel_name = str(ready["mel_name"])
        self.clock_mhz = int(ready["clock_mhz"])
        self.known_answer_ms = float(ready["known_answer_ms"])

    def ask(self, requests: Sequence[_Request]) -> dict[str, Any]:
        """Send the requests that are not sent yet; return the answer to the first."""
        for request in list(requests)[self._n_unanswered :]:
            self._send(request)
        answer = self._receive("done", PATIENCE_S, self._window_s)
        self._n_unanswered -= 1
        return answer

    def _send(self, request: _Request) -> None:
        files = [] if request.number in self._known else [request.file]
        self._known.add(request.number)
        message = json.dumps({"work": request.work, "window": request.number}).encode()
        try:
            socket.send_fds(self._channel, [message], files)
        except OSError as error:
            raise DeviceError("the NPU's worker process died", hint=HINT_GONE) from error
        self._n_unanswered += 1

    def _receive(self, kind: str, patience_s: float, limit_s: float) -> dict[str, Any]:
        """Wait for a message of `kind` for `limit_s` in all; every beat renews the patience."""
        end = monotonic() + limit_s
        while True:
            if monotonic() > end:
                message = f"the NPU did not encode a window within {limit_s:g} s"
                raise _BlockedError(message, hint=HINT_GONE)
            self._channel.settimeout(patience_s)
            try:
                data = self._channel.recv(MAX_MESSAGE)
            except TimeoutError:
                message = f"the NPU's worker process gave no sign of life for {patience_s:g} s"
                failure = _BlockedError if self._heard else DeviceError
                raise failure(message, hint=HINT_GONE) from None
            except OSError:
                data = b""
            if not data:
                raise DeviceError("the NPU's worker process died", hint=HINT_GONE)
            message = json.loads(data)
            if message["kind"] == "failed":
                raise _rebuild_error(message)
            if message["kind"] == kind:
                return dict(message)
            patience_s, self._heard = PATIENCE_S, True

    def close(self) -> None:
        """Hang up, await the process, and remove the folders that a killed one leaves behind."""
        self._channel.close()
        try:
            self._process.wait(END_S if self._process.returncode is None else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for folder in Path(gettempdir()).glob(f"{make_prefix(self._process.pid)}*"):
            shutil.rmtree(folder)


def _choose_module(options: WorkerOptions) -> tuple[str, Path | None]:
    """Return the module that a worker runs and the folder to start it in (None: this one)."""
    if not options.exact:
        return "whisper_npu_cli.engines.npu.worker", None
    if not (CHECKOUT / "mlir" / "simulate").is_dir():
        raise OverlayError(
            "--exact runs the overlay's sources: only a checkout has what simulates them"
        )
    return "mlir.simulate.worker", CHECKOUT


def _rebuild_error(message: dict[str, Any]) -> WhisperNpuError:
    error: type[WhisperNpuError] = getattr(errors, message["type"])
    return error(message["message"], hint=message["hint"])
