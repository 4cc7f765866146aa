"""The encoder as commands for the NPU: from dimensions to instruction streams, buffers, run lists.

Everything between the mel window and the decoder's cross-attention keys and values runs on the
device, one run list a layer; the host lays the window out before and the results after. Matrices
are padded to what one pass of the array makes. Knows neither weights nor a runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from whisper_npu_cli.dims import HOP_LENGTH, N_FFT, N_FRAMES, ModelDims
from whisper_npu_cli.engines.npu.layout import round_up
from whisper_npu_cli.engines.npu.spec import HALF, MAX_N, PASS, TILE, Argument, StreamSpec
from whisper_npu_cli.engines.npu.timing_model import (
    HOST_LAYERNORM_MS,
    LIST_MS,
    predict_chain_ms,
    predict_stream_ms,
    predict_sync_ms,
)
from whisper_npu_cli.errors import OverlayError

CONV_TAPS = 3  # both convolutions have three taps
BIAS_COLUMNS = 2  # conv1's bias as high and low bf16 parts, see `Plan`
MEL_BINS = N_FFT // 2 + 1
MEL_FRAMES = round_up(N_FRAMES, PASS)  # frames whose mel power is computed at a time
MEL_SAMPLES = (MEL_FRAMES - 1) * HOP_LENGTH + N_FFT
# What a window takes of one Zen 3 core, measured; the audio passes twice, first for its peak
HOST_MEL_MS = 8.2
MEL_BESIDE_MS = 3.6
MEL_WORKER_MS = 1.3  # of it in the worker for the window's own pass, where the device waits (Zen 4)
HOST_GBPS = 3.8  # laying out, reading back, checking, by bytes of the buffers (Zen 4, measured)
PAGE_BYTES = 4096
HEAP_BYTES = 64 << 20  # what the driver's library locks for instruction streams (xdna-driver)
CROSS = "cross."  # prefix of the names of cross-attention buffers
PATCHES = "patches"  # the host's input: im2col of the mel window
SAMPLES, BASIS, FILTERS, MEL = "samples", "mel.basis", "mel.filters", "mel"
STATES = "states"  # normalised; in a buffer that nothing else uses, to notice it left unwritten


@dataclass(frozen=True)
class Step:
    """One command: what it is called, its stream, and its buffers in the stream's order."""

    name: str
    spec: StreamSpec
    buffers: tuple[str, ...]


@dataclass(frozen=True)
class CrossSlice:
    """The decoder layers whose keys and values are in `buffer`, n_text_state columns each."""

    buffer: str
    layers: range


@dataclass(frozen=True)
class Decision:
    """How a part of a window is computed, and another way that would take longer."""

    part: str
    chosen: str
    chosen_ms: float
    other: str
    other_ms: float

    def __str__(self) -> str:
        return (
            f"{self.part}: {self.chosen}, {self.chosen_ms:.2f} ms; {self.other_ms:.2f} {self.other}"
        )


@dataclass(frozen=True)
class WindowTime:
    """Predicted milliseconds of one window at a clock of the array."""

    clock_mhz: float
    device_ms: float  # encoding, dispatch included
    mel_ms: float  # of the device too; a recording's peak takes as much once more, before
    host_ms: float  # laying out, reading back, checking; mel's is MEL_BESIDE_MS
    alone_ms: float  # one after the other
    in_flight_ms: float  # where two windows are in flight, and the host works beside the device


@dataclass(frozen=True)
class Plan:
    """All commands of one window.

    The first convolution computes each of its rows where the second will read it: rows 2t - 1,
    2t and 2t + 1 as three parts (half of them twice, 0.3 ms for base, instead of a copy). Row -1
    must be zero and not GELU(bias): so its bias comes in through columns of ones, which padding
    rows lack.
    """

    dims: ModelDims
    mel: tuple[Step, ...]
    lists: tuple[tuple[Step, ...], ...]
    cross: tuple[CrossSlice, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All commands of the encoder in order."""
        return tuple(step for steps in self.lists for step in steps)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        """The instruction streams needed, each once, by name."""
        specs = {step.spec for step in (*self.mel, *self.steps)}
        return tuple(sorted(specs, key=lambda spec: spec.name))

    @cached_property
    def buffers(self) -> dict[str, Argument]:
        """Every buffer by name."""
        return {
            name: argument
            for step in (*self.mel, *self.steps)
            for name, argument in zip(step.buffers, step.spec.arguments, strict=True)
        }

    @property
    def locked_bytes(self) -> int:
        """The memory that a process with these buffers on the device has locked."""
        buffers = sum(round_up(row.size_bytes, PAGE_BYTES) for row in self.buffers.values())
        return HEAP_BYTES + buffers

    def predict_ms(self, clock_mhz: float) -> float:
        """Return the predicted device time of encoding one window, dispatch included."""
        return _predict_steps_ms(self.steps, clock_mhz)

    def predict_mel_ms(self, clock_mhz: float) -> float:
        """Return the predicted device time of the mel power of MEL_FRAMES, dispatch included."""
        return _predict_steps_ms(self.mel, clock_mhz)

    def predict_window(self, clock_mhz: float) -> WindowTime:
        """Predict what one window costs, alone and with another in flight.

        Beside every run list but the last the host has a share of reading back, from the second on
        one of laying out: the longer of device and host counts. The worker computes mel between
        windows; the logarithm is the parent's.
        """
        *lists, last = (_predict_steps_ms(steps, clock_mhz) for steps in self.lists)
        results = (STATES, *(part.buffer for part in self.cross))
        reading = sum(self.buffers[name].size_bytes for name in results) / HOST_GBPS / 1e6
        laying_out = self.buffers[PATCHES].size_bytes / HOST_GBPS / 1e6
        read, laid_out = reading / len(lists), laying_out / max(len(lists) - 1, 1)
        beside = (max(ms, read + laid_out * (index > 0)) for index, ms in enumerate(lists))
        device_ms, mel_ms = self.predict_ms(clock_mhz), self.predict_mel_ms(clock_mhz)
        host_ms = reading + laying_out
        return WindowTime(
            clock_mhz,
            device_ms,
            mel_ms,
            host_ms,
            alone_ms=device_ms + host_ms + mel_ms + MEL_BESIDE_MS,
            in_flight_ms=sum(beside) + last + mel_ms + MEL_WORKER_MS,
        )

    def decide(self, clock_mhz: float) -> list[Decision]:
        """Return what is chosen where there is a choice, with the predicted times that decide.

        The choices are the same for every published model at every clock of the chip.
        """
        specs = {step.spec.op: step.spec for step in self.steps}
        norm, attention = specs["layernorm"], specs["attention"]
        norm_ms = LIST_MS + predict_stream_ms(norm, clock_mhz)
        host_norm_ms = norm.m * norm.n * HOST_LAYERNORM_MS + predict_sync_ms(6 * norm.m * norm.n)
        fused_ms = LIST_MS + predict_stream_ms(attention, clock_mhz)
        chain_ms = predict_chain_ms(attention, clock_mhz)
        return [
            Decision("attention of a layer", "fused", fused_ms, "as products a head", chain_ms),
            Decision("LayerNorm", "on the device", norm_ms, "on the host", host_norm_ms),
            Decision(
                "mel, the host's time", "on the device", MEL_BESIDE_MS, "on the host", HOST_MEL_MS
            ),
        ]


def plan_encoder(dims: ModelDims) -> Plan:
    """Plan the encoder of `dims`; OverlayError where the overlay cannot serve it."""
    if dims.head_size > TILE or dims.n_audio_state % TILE:
        raise OverlayError(
            f"the NPU overlay serves widths in steps of {TILE} with heads of at most {TILE}, "
            f"not {dims.n_audio_state} with {dims.head_size}"
        )
    sizes = _Sizes.of(dims)
    cross = tuple(_slice_cross(dims))
    mel = _plan_mel(dims)
    layers = tuple(_plan_layer(sizes, f"layers.{i}") for i in range(dims.n_audio_layer))
    return Plan(dims, mel, (_plan_front(sizes), *layers, _plan_back(sizes, dims, cross)), cross)


@dataclass(frozen=True)
class _Sizes:
    """Padded sizes."""

    n_ctx: int
    valid_ctx: int
    mel_columns: int
    state: int
    valid_state: int
    heads: int  # columns of all heads, TILE for each
    hidden: int

    @classmethod
    def of(cls, dims: ModelDims) -> _Sizes:
        return cls(
            n_ctx=round_up(dims.n_audio_ctx, PASS),
            valid_ctx=dims.n_audio_ctx,
            mel_columns=round_up(CONV_TAPS * dims.n_mels + BIAS_COLUMNS, TILE),
            state=round_up(dims.n_audio_state, PASS),
            valid_state=dims.n_audio_state,
            heads=round_up(dims.n_audio_head * TILE, PASS),
            hidden=round_up(4 * dims.n_audio_state, PASS),
        )

    def gemm(self, k: int, n: int, epilogue: str) -> StreamSpec:
        return StreamSpec("gemm", self.n_ctx, k, n, epilogue)

    @property
    def layernorm(self) -> StreamSpec:
        return StreamSpec("layernorm", self.n_ctx, 0, self.state, valid=self.valid_state)


def _predict_steps_ms(steps: Iterable[Step], clock_mhz: float) -> float:
    return sum(LIST_MS + predict_stream_ms(step.spec, clock_mhz) for step in steps)


def _plan_mel(dims: ModelDims) -> tuple[Step, ...]:
    """Plan the mel power: what follows, logarithm and clamp, waits for the whole audio's peak.

    The left half of the filters' columns holds high parts, the right half low ones: as wide as the
    array makes at least, so that costs nothing. The host adds the halves of what comes out.
    """
    n = round_up(2 * MEL_BINS, PASS)
    spectrum = StreamSpec("spectrum", MEL_FRAMES, round_up(N_FFT, HALF), n)
    filters = StreamSpec("gemm", MEL_FRAMES, n, round_up(2 * dims.n_mels, PASS), "f32")
    return (
        Step("spectrum", spectrum, (SAMPLES, BASIS, "power")),
        Step("filters", filters, ("power", FILTERS, MEL)),
    )


def _plan_front(sizes: _Sizes) -> tuple[Step, ...]:
    rows = CONV_TAPS * sizes.n_ctx
    conv1 = StreamSpec("gemm", rows, sizes.mel_columns, sizes.state, "gelu")
    conv2 = StreamSpec(
        "gemm", sizes.n_ctx, CONV_TAPS * sizes.state, sizes.state, "gelu_residual", parts=CONV_TAPS
    )
    return (
        Step("conv1", conv1, (PATCHES, "conv1.weights", "taps")),
        Step("conv2", conv2, ("taps", "conv2.weights", "positions", "x")),
    )


def _plan_layer(sizes: _Sizes, name: str) -> tuple[Step, ...]:
    """Plan one transformer block; the residual stream alternates between `x` and `y`."""
    state, heads, hidden = sizes.state, sizes.heads, sizes.hidden
    attention = StreamSpec("attention", sizes.n_ctx, sizes.n_ctx, heads, valid=sizes.valid_ctx)
    rows = (
        ("attn_norm", sizes.layernorm, ("x", "normed")),
        ("qkv", sizes.gemm(state, 3 * heads, "qkv"), ("normed", "*", "qkv")),
        ("attention", attention, ("qkv", "attended")),
        ("attn_out", sizes.gemm(heads, state, "residual"), ("attended", "*", "x", "y")),
        ("mlp_norm", sizes.layernorm, ("y", "normed")),
        ("fc1", sizes.gemm(state, hidden, "gelu"), ("normed", "*", "hidden")),
        ("fc2", sizes.gemm(hidden, state, "residual"), ("hidden", "*", "y", "x")),
    )
    return tuple(
        Step(
            f"{name}.{step}",
            spec,
            tuple(f"{name}.{step}.weights" if buffer == "*" else buffer for buffer in buffers),
        )
        for step, spec, buffers in rows
    )


def _plan_back(sizes: _Sizes, dims: ModelDims, cross: tuple[CrossSlice, ...]) -> tuple[Step, ...]:
    norm = Step("post_norm", sizes.layernorm, ("x", STATES))
    width = round_up(2 * len(cross[0].layers) * dims.n_text_state, PASS)
    spec = sizes.gemm(sizes.state, width, "bf16")
    names = [part.buffer for part in cross]
    return (norm, *(Step(name, spec, (STATES, f"{name}.weights", name)) for name in names))


def _slice_cross(dims: ModelDims) -> Iterator[CrossSlice]:
    """Divide the decoder's layers evenly over streams that the array can address."""
    n_layers = dims.n_text_layer
    fitting = MAX_N // (2 * dims.n_text_state)
    each = max(n for n in range(1, n_layers + 1) if n_layers % n == 0 and n <= fitting)
    for index, first in enumerate(range(0, n_layers, each)):
        yield CrossSlice(f"{CROSS}{index}", range(first, first + each))
