"""The encoder on an NPU: a checkpoint and an overlay in, windows encoded.

Runs the commands of `plan.py` over a device runtime. Between laying the mel window out and
reading keys and values back, the host does nothing but start run lists. This blocks the whole
process while the device works, so `worker.py` gives it one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import groupby
from time import thread_time

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.mel import HostMel, cut_frames
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.engines.base import EncodedWindow, check_mel, from_bf16
from whisper_npu_cli.engines.npu import layout
from whisper_npu_cli.engines.npu.manifest import HINT_BUILD, Manifest, Overlay
from whisper_npu_cli.engines.npu.plan import (
    BIAS_COLUMNS,
    CONV_TAPS,
    CROSS,
    MEL,
    MEL_FRAMES,
    MEL_SAMPLES,
    PATCHES,
    SAMPLES,
    STATES,
    CrossSlice,
    Step,
    plan_encoder,
)
from whisper_npu_cli.engines.npu.runtime import Buffer, Command, DeviceRuntime
from whisper_npu_cli.engines.npu.spec import TILE, StreamSpec
from whisper_npu_cli.engines.npu.trust import SENTINEL, check_list, check_streams
from whisper_npu_cli.engines.npu.weights import pack_encoder
from whisper_npu_cli.errors import DeviceError, OverlayError
from whisper_npu_cli.transcript import DeviceProof

F32 = NDArray[np.float32]
Work = Callable[[], None]

LIST_TIMEOUT_S = 5.0  # the driver resets a hung context after 2 s
ARMED_BYTES = 64  # one cache line of each result is filled with NaN before every window
BF16_ONE = 0x3F80
# Of the norm of numbers rounded to bf16: what their sum with random signs may be off by. Each is
# off by 2^-9 of itself at most, evenly spread: a sum's deviation is a sqrt(3)rd; eight of them.
PROBE_TOLERANCE = 8 * 2**-9 / 3**0.5
# Of mel power, and of a frame's loudest band: the rounding of parts is noise 130 dB below that
MEL_TOLERANCE, MEL_NOISE = 1e-3, 1e-7
VARIANCE_TOLERANCE = 0.05  # rounding changes the variance of a normalised row by less than 0.01


class NpuEncoder:
    """Encode windows with a checkpoint's weights resident on the device."""

    leaves_cpu = False  # pyxrt holds the interpreter lock while the device works
    n_mel_frames = MEL_FRAMES

    def __init__(
        self,
        checkpoint: Checkpoint,
        runtime: DeviceRuntime,
        manifest: Manifest,
        *,
        chained: bool = True,
    ) -> None:
        self.dims = checkpoint.dims
        origin = "simulated " if runtime.predicted else ""
        self.name = f"{origin}{runtime.name} bf16"
        self.mel_name = f"{origin}npu"
        self._plan = plan_encoder(checkpoint.dims)
        self._overlays = choose_overlays(manifest, self._plan.specs)
        self._runtime = runtime
        self.known_answer_ms = 0.0
        programs = {}
        for overlay in dict.fromkeys(self._overlays.values()):
            specs = [spec for spec, one in self._overlays.items() if one is overlay]
            program = runtime.load(manifest.path.parent, overlay)
            self.known_answer_ms += check_streams(runtime, program, specs)
            if chained:
                try:
                    self.known_answer_ms += check_list(runtime, program, specs)
                except DeviceError:  # its context may have failed with it
                    chained = False
                    program = runtime.load(manifest.path.parent, overlay)
            programs[overlay.name] = program
        self._buffers = {
            name: runtime.alloc(argument.size_bytes)
            for name, argument in self._plan.buffers.items()
        }
        self._results = (STATES, *(part.buffer for part in self._plan.cross))
        self._probes: dict[str, _Probe] = {}
        self._load_weights(checkpoint)
        self.clock_mhz = runtime.clock_mhz
        self._mel_lists, self._lists = (
            [
                programs[name].run_list([self._bind(step) for step in group], chained=chained)
                for steps in lists
                for name, group in groupby(steps, key=lambda step: self._overlays[step.spec].name)
            ]
            for lists in ((self._plan.mel,), self._plan.lists)
        )
        self._host_mel = HostMel(checkpoint.dims.n_mels)
        self._buffers[SAMPLES].host[:] = 0

    def _bind(self, step: Step) -> Command:
        return Command(step.spec.name, tuple(self._buffers[name] for name in step.buffers))

    def _load_weights(self, checkpoint: Checkpoint) -> None:
        for name, packed in pack_encoder(self._plan, checkpoint):
            self._buffers[name].host[:] = packed
            self._buffers[name].to_device()
            if name.startswith(CROSS):
                shape = self._plan.buffers[name].shape
                self._probes[name] = _Probe.of(packed.view(np.uint16).reshape(shape))
        norm = "model.encoder.layer_norm"
        self._scale, self._shift = (checkpoint.array(f"{norm}.{x}") for x in ("weight", "bias"))

    def compute_mel_power(self, samples: F32) -> F32:
        """Return the mel power (n_mels, k) of the k whole frames, at most MEL_FRAMES, of (n,)."""
        frames = cut_frames(samples)
        power = np.empty((self.dims.n_mels, MEL_FRAMES), np.float32)
        self.compute_mel_power_into(np.pad(samples, (0, MEL_SAMPLES - len(samples))), power)
        return power[:, : len(frames)]

    def compute_mel_power_into(self, samples: F32, power: F32) -> None:
        """Compute the power (n_mels, MEL_FRAMES) of samples (MEL_SAMPLES,).

        DeviceError where the device fails or errs: one frame in 64 is computed by the host too.
        """
        taken, made = self._buffers[SAMPLES], self._buffers[MEL]
        taken.host.view(np.float32)[: len(samples)] = samples  # what lies behind stays zero
        taken.to_device()
        _arm(made)
        for run_list in self._mel_lists:
            run_list.run(LIST_TIMEOUT_S)
        _collect(made)
        n = self._plan.buffers[MEL].shape[1] // 2
        tiles = made.host.view(np.float32).reshape(MEL_FRAMES // TILE, 2, -1)
        packed = (tiles[:, 0] + tiles[:, 1]).reshape(MEL_FRAMES, n)  # of high and low filters
        power[:] = layout.unpack_c(packed)[:, : self.dims.n_mels].T
        want = self._host_mel.measure_frames(cut_frames(samples)[::TILE])
        loudest = want.max(axis=0)
        allowed = MEL_TOLERANCE * want + MEL_NOISE * loudest
        if not (np.abs(power[:, ::TILE] - want) <= allowed).all():
            raise DeviceError("the NPU returned a spectrum that is not that of the samples")

    def encode(self, mel: F32) -> EncodedWindow:
        """Encode one window `mel` of shape (n_mels, N_FRAMES); ValueError on another shape."""
        window = EncodedWindow.empty(self.dims, np.uint16)
        (proof,) = self.encode_into([(mel, window)])
        return replace(window, proof=proof)

    def encode_into(self, jobs: Iterable[tuple[F32, EncodedWindow]]) -> Iterator[DeviceProof]:
        """Encode each mel into the arrays of its window; yield the proofs in order.

        Two windows are in flight: beside every run list but the last, the host reads a share of
        the window before back, and from the second on lays a share of the next one out. So no
        buffer is needed twice: the first list reads the one that is laid out, the last list writes
        those that are read back. DeviceError where the device fails or errs.
        """
        flights = (_Flight(*job) for job in jobs)
        before, present = None, next(flights, None)
        if present is not None:
            _run_all(self._list_laying_out(present))
        n = len(self._lists) - 1
        while present is not None:
            following = next(flights, None)
            reading = self._list_reading(before) if before else list[Work]()
            laying_out = self._list_laying_out(following) if following else list[Work]()
            for index, run_list in enumerate(self._lists[:n]):
                share = _share(reading, index, n) + _share(laying_out, index - 1, n - 1)
                present.device_ms += run_list.run(LIST_TIMEOUT_S, partial(_run_all, share))
            if before:
                yield self._prove(before)
            for name in self._results:
                _arm(self._buffers[name])
            present.device_ms += self._lists[n].run(LIST_TIMEOUT_S)
            before, present = present, following
        if before:
            _run_all(self._list_reading(before))
            yield self._prove(before)

    def _list_laying_out(self, flight: _Flight) -> list[Work]:
        """Return what lays a mel out as the first convolution's operand, in parts of 1 to 2 ms."""
        check_mel(flight.mel, self.dims)
        rows, cols = self._plan.buffers[PATCHES].shape
        buffer = self._buffers[PATCHES]
        parts = buffer.host.view(np.uint16).reshape(CONV_TAPS, rows // CONV_TAPS, cols)

        def frame() -> None:
            flight.patches = frame_mel(flight.mel, cols)

        def place(part: int) -> None:
            parts[part] = extract_part(flight.patches, part, rows // CONV_TAPS)

        steps: list[Work] = [frame, *(partial(place, part) for part in range(CONV_TAPS))]
        steps.append(buffer.to_device)
        return [partial(flight.do, step) for step in steps]

    def _list_reading(self, flight: _Flight) -> list[Work]:
        """Return what reads and checks the results of a window, in parts of 1 to 3 ms."""
        window, steps = flight.window, list[Work]()

        def read_states() -> None:
            _collect(self._buffers[STATES])
            flight.normal = self._read_states(window.states)

        steps.append(read_states)
        for part in self._plan.cross:
            steps.append(partial(_collect, self._buffers[part.buffer]))
            steps += [partial(self._copy_layer, part, layer, window) for layer in part.layers]
            steps.append(partial(self._check_cross, part, flight))
        return [partial(flight.do, step) for step in steps]

    def _prove(self, flight: _Flight) -> DeviceProof:
        return DeviceProof(
            self._runtime.name,
            combine_hashes(self._overlays.values()),
            sum(run_list.n_submissions for run_list in self._lists),
            sum(run_list.n_commands for run_list in self._lists),
            flight.device_ms,
            self._runtime.predicted,
            1000 * flight.host_s,
        )

    def _read_states(self, states: F32) -> F32:
        """Read the normalised states, scale and shift them into `states`, and return them as read.

        Every row is checked by its variance, which LayerNorm makes 1.
        """
        packed = self._buffers[STATES].host.view(np.uint16)
        rows = layout.unpack_a(packed.reshape(self._plan.buffers[STATES].shape))
        normal = from_bf16(rows[: states.shape[0], : states.shape[1]])
        variance = np.einsum("ij,ij->i", normal, normal) / states.shape[1]
        if not np.abs(variance - 1).max() < VARIANCE_TOLERANCE:
            raise DeviceError("the NPU returned states that no LayerNorm makes")
        if np.array_equal(rows[0], rows[states.shape[0] // 2]):
            raise DeviceError("the NPU returned the same state for every position")
        np.multiply(normal, self._scale, out=states)
        states += self._shift
        return normal

    def _copy_layer(self, part: CrossSlice, layer: int, window: EncodedWindow) -> None:
        packed = self._buffers[part.buffer].host.view(np.uint16)
        packed = packed.reshape(self._plan.buffers[part.buffer].shape)
        first = 2 * (layer - part.layers.start) * self.dims.n_text_state
        layout.copy_a(packed, first, window.cross_keys[layer])
        layout.copy_a(packed, first + self.dims.n_text_state, window.cross_values[layer])

    def _check_cross(self, part: CrossSlice, flight: _Flight) -> None:
        """Check one row of every tile of keys and values against the states."""
        chosen = slice(part.layers.start, part.layers.stop)
        self._probes[f"{part.buffer}.weights"].check(
            flight.normal[::TILE],
            from_bf16(flight.window.cross_keys[chosen, ::TILE]),
            from_bf16(flight.window.cross_values[chosen, ::TILE]),
        )

    def close(self) -> None:
        """Drop every reference to the device: XRT then gives the context back."""
        self._mel_lists.clear()
        self._lists.clear()
        self._buffers.clear()


@dataclass
class _Flight:
    """A window on its way through the device."""

    mel: F32
    window: EncodedWindow
    device_ms: float = 0.0
    host_s: float = 0.0
    patches: layout.U16 = field(default_factory=lambda: np.empty(0, np.uint16))
    normal: F32 = field(default_factory=lambda: np.empty(0, np.float32))

    def do(self, work: Work) -> None:
        """Do a part of the host's work, timed."""
        start = thread_time()
        work()
        self.host_s += thread_time() - start


def _run_all(work: Iterable[Work]) -> None:
    for part in work:
        part()


def _share(work: list[Work], index: int, n: int) -> list[Work]:
    """Return share `index` of `n` equal ones; none where it is negative."""
    return work[index * len(work) // n : (index + 1) * len(work) // n] if index >= 0 else []


@dataclass(frozen=True)
class _Probe:
    """A random combination of a product's columns, known from its weights alone (Freivalds 1977).

    The device computes every column and the host this one alone. A wrong column shows unless errors
    cancel, and the check costs a millionth of the product.
    """

    signs: F32  # (n,) of -1 and 1
    weights: F32  # (k,)
    bias: float

    @classmethod
    def of(cls, packed: layout.U16) -> _Probe:
        weights, bias = layout.unpack_weights(packed)
        signs = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), bias.size)
        return cls(signs, from_bf16(weights) @ signs, float(bias @ signs))

    def check(self, rows: F32, keys: F32, values: F32) -> None:
        """Compare products (layers, rows, width) of `rows` (rows, k); DeviceError on another."""
        products = np.stack([keys, values], axis=1).swapaxes(1, 2)  # (layers, rows, 2, width)
        products = products.swapaxes(0, 1).reshape(len(rows), -1)
        got = products @ self.signs[: products.shape[1]]
        want = rows @ self.weights[: rows.shape[1]] + self.bias
        if not (np.abs(got - want) <= PROBE_TOLERANCE * np.linalg.norm(products, axis=1)).all():
            raise DeviceError("the NPU returned keys or values that do not follow from its states")


def frame_mel(mel: F32, cols: int) -> layout.U16:
    """Return what each output row of the first convolution reads, rows -1 to N_FRAMES - 1.

    That is three mel frames, then ones for the bias; row -1, before the first frame, stays zero.
    """
    n_mels = mel.shape[0]
    width = CONV_TAPS * n_mels
    framed = np.zeros((N_FRAMES + CONV_TAPS - 1, n_mels), np.uint16)
    framed[1:-1] = layout.to_bf16(np.ascontiguousarray(mel.T))
    patches = np.zeros((N_FRAMES + 1, cols), np.uint16)
    patches[1:, :width] = layout.im2col(framed, CONV_TAPS)
    patches[1:, width : width + BIAS_COLUMNS] = BF16_ONE
    return patches


def extract_part(patches: layout.U16, part: int, rows: int) -> layout.U16:
    """Return a part of the first convolution's operand in layout `a`.

    It has the output rows 2t + part - 1: what tap `part` of the second convolution reads.
    """
    taken = patches[part::2][: N_FRAMES // 2]
    return layout.pack_a(layout.pad(taken, rows, patches.shape[1]))


def choose_overlays(manifest: Manifest, specs: tuple[StreamSpec, ...]) -> dict[StreamSpec, Overlay]:
    """Return the overlay of each stream: one for all where there is one.

    OverlayError names a stream that none has. A change of overlays is one of contexts.
    """
    for overlay in manifest.overlays:
        if all(overlay.find_stream(spec) for spec in specs):
            return dict.fromkeys(specs, overlay)
    chosen = {}
    for spec in specs:
        holders = [overlay for overlay in manifest.overlays if overlay.find_stream(spec)]
        if not holders:
            raise OverlayError(f"no overlay has stream {spec.name}", hint=HINT_BUILD)
        chosen[spec] = holders[0]
    return chosen


def combine_hashes(overlays: Iterable[Overlay]) -> str:
    """Return the hash of one overlay, or that of the hashes of several."""
    hashes = sorted({overlay.sha256 for overlay in overlays})
    return hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()


def _arm(buffer: Buffer) -> None:
    """Fill the beginning of a result with NaN, so that one that is not written is noticed."""
    buffer.host[:ARMED_BYTES] = SENTINEL
    buffer.to_device(ARMED_BYTES)


def _collect(buffer: Buffer) -> None:
    """Read a result back; DeviceError where the device has not written it."""
    buffer.to_host()
    if (buffer.host[:ARMED_BYTES] == SENTINEL).all():
        raise DeviceError("the NPU reported success and wrote nothing")
