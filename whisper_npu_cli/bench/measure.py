"""Measure one device: encoder, decoder and whole windows, interleaved with the machine's limits.

Each run takes every measurement once, so that whatever else the machine does falls on all of
them alike; shares of a limit are taken within a run.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.mel import HostMel, log_mel
from whisper_npu_cli.bench.energy import find_meter, measure_energy
from whisper_npu_cli.bench.limits import Gemm, MemoryRead, Multiply, supports_bf16
from whisper_npu_cli.bench.work import Step, count_attention_flop, count_linear_flop
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.devices import OPENVINO
from whisper_npu_cli.dims import CHUNK_S, N_SAMPLES
from whisper_npu_cli.engines.base import CrossKV, Decoder, relative_l2
from whisper_npu_cli.engines.loading import Engines, load_engines
from whisper_npu_cli.engines.numba_decoder.decoder import NumbaDecoder
from whisper_npu_cli.engines.reference import ReferenceDecoder, ReferenceEncoder
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.options import EngineOptions
from whisper_npu_cli.transcript import DeviceProof

N_PROMPT = 4  # start, language, task and one more
Array = NDArray[np.float32]
Timer = Callable[[], float]


@dataclass(frozen=True)
class BenchOptions:
    """What to measure."""

    model: str
    n_runs: int
    n_tokens: int  # decoded for each window
    shapes: tuple[tuple[int, int], ...]  # (batch, beam): windows together, and rows for each
    with_parts: bool = False  # also where a decoder step's time goes


def bench_device(
    options: BenchOptions,
    engine: EngineOptions,
    notice: Callable[[str], None],
    step: Callable[[str], None],
) -> dict[str, Any]:
    """Return the machine's rates and the device's times, JSON-ready. Run it in a fresh process.

    `notice` gets what a user should know, `step` a line before each part of the work. The peak of
    memory is that of the process, taken before the reference engine checks the numbers. Raises
    CheckpointError or DeviceError where the engine cannot be loaded.
    """
    step(f"{engine.device}: loading {options.model}")
    checkpoint = open_checkpoint(options.model, offline=False)
    engines = load_engines(checkpoint, engine, notice)
    if options.with_parts and not isinstance(engines.decoder, NumbaDecoder):
        name = engines.decoder.name
        raise UsageError(f"the parts of {name} are not measured", hint="leave out --parts")
    samples = np.random.default_rng(0).standard_normal(N_SAMPLES).astype(np.float32) * 0.1
    mel = log_mel(samples, HostMel(checkpoint.dims.n_mels))
    proofs: list[DeviceProof] = []  # one for each window that the NPU computed
    with engines.decoding():  # the limits are measured with as many threads
        step(f"{engine.device}: warming up")
        timers = _make_timers(options, engines, samples, proofs)
        for timer in timers.values():
            timer()  # warm-up
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        limits = _make_limits(engine, engines.encoder.name)
        measured = {name: np.empty(options.n_runs) for name in (*limits, *timers)}
        for run in range(options.n_runs):
            step(f"{engine.device}: run {run + 1} of {options.n_runs}")
            for name, take in (limits | timers).items():
                measured[name][run] = take()
        parts = _list_parts(options, engines, mel)
        is_simulated = bool(proofs) and proofs[0].predicted
        energy = None if is_simulated else _measure_energy(options, timers)
    step(f"{engine.device}: comparing with the reference engine, which is slow")
    return {
        "machine": {name: median(measured[name]) for name in limits},
        "device": {
            "name": engines.device,
            "engines": {"encode": engines.encoder.name, "decode": engines.decoder.name},
            "mel": _summarise(measured["mel"], "ms_per_window"),
            "encode": _report_encode(checkpoint, engines, measured, proofs),
            "decode": [
                _report_decode(checkpoint, options, engine, shape, measured)
                for shape in options.shapes
            ],
            "window": _report_window(options, measured),
            **parts,
            "energy": energy,
            "peak_memory_mb": peak_mb,
            "accuracy": _measure_accuracy(checkpoint, engines, mel),
        },
    }


def _make_timers(
    options: BenchOptions, engines: Engines, samples: Array, proofs: list[DeviceProof]
) -> dict[str, Timer]:
    """Return a timer for each stage, in milliseconds; `proofs` collects those of the NPU."""
    encoder, decoder = engines.encoder, engines.decoder
    mel = log_mel(samples, engines.mel)
    window = decoder.cross_kv(encoder.encode(mel))

    def encode() -> None:
        proof = encoder.encode(mel).proof
        proofs.extend([proof] if proof else [])

    timers: dict[str, Timer] = {
        "mel": lambda: _time_ms(lambda: log_mel(samples, engines.mel)),
        "encode": lambda: _time_ms(encode),
    }
    for batch, beam in options.shapes:
        timers[f"{batch}x{beam}"] = _make_step_timer(
            decoder, window, (batch, beam), options.n_tokens
        )
    return timers


def _make_limits(engine: EngineOptions, encoder_name: str) -> dict[str, Timer]:
    limits: dict[str, Timer] = {
        "gemm_fp32_gflops": Gemm("f32", engine.n_threads).measure_gflops,
        "memory_read_gb_s": MemoryRead().measure_gb_s,
        "multiply_int8_int16_gmacs": Multiply().measure_gmacs,
    }
    if supports_bf16():
        limits["gemm_bf16_gflops"] = Gemm("bf16", engine.n_threads).measure_gflops
    if "int8" in encoder_name:
        limits["gemm_int8_gflops"] = Gemm("int8", engine.n_threads).measure_gflops
    return limits


def _time_ms(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return 1000 * (perf_counter() - start)


def _make_step_timer(
    decoder: Decoder,
    window: CrossKV,
    shape: tuple[int, int],
    n_tokens: int,
    after_step: Callable[[], None] = lambda: None,
) -> Timer:
    """Return a function that decodes `n_tokens` and gives the milliseconds of one step."""
    batch, beam = shape
    tokens = np.random.default_rng(1).integers(
        decoder.dims.n_vocab, size=(N_PROMPT + n_tokens, batch * beam)
    )
    # Beams change places in a search; here each group of rows is rotated by one.
    rotated = (np.arange(beam) + 1) % beam + beam * np.arange(batch)[:, None]

    def take() -> float:
        session = decoder.start([window] * batch, batch * beam)
        session.prefill(tokens[:N_PROMPT, :batch].T, (N_PROMPT - 1,))
        session.gather(np.repeat(np.arange(batch), beam))
        start = perf_counter()
        for row in tokens[N_PROMPT:]:
            session.step(row)
            if beam > 1:
                session.gather(rotated.ravel())
            after_step()
        return 1000 * (perf_counter() - start) / n_tokens

    return take


def _list_parts(options: BenchOptions, engines: Engines, mel: Array) -> dict[str, Any]:
    """Return the parts of a step of each shape, where they are asked for."""
    decoder = engines.decoder
    if not (options.with_parts and isinstance(decoder, NumbaDecoder)):
        return {}
    window = decoder.cross_kv(engines.encoder.encode(mel))
    return {
        "parts": [
            {"batch": shape[0], "beam": shape[1]}
            | {"ms_per_step": _measure_parts(decoder, window, shape, options)}
            for shape in options.shapes
        ]
    }


def _measure_parts(
    decoder: NumbaDecoder, window: CrossKV, shape: tuple[int, int], options: BenchOptions
) -> dict[str, float]:
    """Return the mean milliseconds of each part of a step; their sum is the step's time."""
    parts: Counter[str] = Counter()
    with decoder.clocked() as read:
        timer = _make_step_timer(
            decoder, window, shape, options.n_tokens, lambda: parts.update(read())
        )
        total = sum(timer() for _ in range(options.n_runs))
    n_steps = options.n_runs * options.n_tokens
    found = {name: ms / n_steps for name, ms in parts.items()}
    return found | {"threads and Python": total / options.n_runs - sum(found.values())}


def _summarise(values: NDArray[np.float64], unit: str) -> dict[str, float]:
    """Return median, minimum and 95th percentile of the runs, named with the unit."""
    return {
        unit: float(median(values)),
        f"min_{unit}": float(values.min()),
        f"p95_{unit}": float(np.percentile(values, 95)),
    }


def _compare_with_limit(
    times: NDArray[np.float64], limits: NDArray[np.float64], name: str
) -> dict[str, float]:
    """Return the median time at the limit, and the median of its share of the time taken."""
    return {name: float(median(limits)), "share_of_limit": float(median(limits / times))}


def _report_encode(
    checkpoint: Checkpoint,
    engines: Engines,
    measured: dict[str, NDArray[np.float64]],
    proofs: list[DeviceProof],
) -> dict[str, Any]:
    """Return the encoder's times, with the CPU's limit or with the times that the NPU gives."""
    times = measured["encode"]
    row: dict[str, Any] = _summarise(times, "ms_per_window")
    if proofs:
        return row | {
            "device_ms": median(proof.device_ms for proof in proofs),
            "device_ms_predicted": proofs[0].predicted,
            "host_ms": median(proof.host_ms for proof in proofs),
        }
    if engines.device.startswith(OPENVINO) and engines.device != f"{OPENVINO}CPU":
        return row
    dims, name = checkpoint.dims, engines.encoder.name
    is_bf16 = "gemm_bf16_gflops" in measured and not name.endswith("f32")
    attention = measured["gemm_bf16_gflops" if is_bf16 else "gemm_fp32_gflops"]
    linear = measured["gemm_int8_gflops"] if "int8" in name else attention
    if name.endswith("int8"):  # else attention is in another precision: "int8+bf16"
        attention = linear
    limits = (count_linear_flop(dims) / linear + count_attention_flop(dims) / attention) / 1e6
    return row | _compare_with_limit(times, limits, "limit_ms")


def _report_decode(
    checkpoint: Checkpoint,
    options: BenchOptions,
    engine: EngineOptions,
    shape: tuple[int, int],
    measured: dict[str, NDArray[np.float64]],
) -> dict[str, Any]:
    """Return a step's times beside its floor: the longer of reading and multiplying."""
    batch, beam = shape
    is_reference = engine.device == "reference"  # fp32 throughout
    step = Step(
        checkpoint.dims,
        n_windows=batch,
        n_rows=batch * beam,
        n_positions=N_PROMPT + options.n_tokens / 2,
        weight_bytes=4 if is_reference else 1,
        cross_bytes=4 if is_reference or engine.cross_kv == "f32" else 1,
    )
    fp32_gmacs = measured["gemm_fp32_gflops"] / 2
    rate = fp32_gmacs if is_reference else measured["multiply_int8_int16_gmacs"]
    reading = step.count_bytes() / 1e6 / measured["memory_read_gb_s"]
    multiplying = step.count_multiplications() / 1e6 / rate
    times = measured[f"{batch}x{beam}"]
    return (
        {"batch": batch, "beam": beam}
        | _summarise(times, "ms_per_step")
        | _compare_with_limit(times, np.maximum(reading, multiplying), "floor_ms")
        | {"reading_ms": float(median(reading)), "multiplying_ms": float(median(multiplying))}
    )


def _report_window(
    options: BenchOptions, measured: dict[str, NDArray[np.float64]]
) -> dict[str, float]:
    """Return the time of a window by stage, and their sum.

    A step serves all windows of the largest batch.
    """
    batch, beam = max(options.shapes)
    stages = {
        "mel": measured["mel"],
        "encode": measured["encode"],
        "decode": measured[f"{batch}x{beam}"] * options.n_tokens / batch,
    }
    medians = {f"{stage}_ms": float(median(times)) for stage, times in stages.items()}
    row = _summarise(sum(stages.values(), np.zeros(options.n_runs)), "ms_per_window")
    row |= {"ms_per_window": sum(medians.values()), **medians}
    return row | {"batch": batch, "beam": beam, "speed": 1000 * CHUNK_S / row["ms_per_window"]}


def _measure_energy(options: BenchOptions, timers: dict[str, Timer]) -> dict[str, Any] | None:
    """Return what an hour of audio takes in the largest batch; None where nothing tells it."""
    meter = find_meter()
    if meter is None:
        return None
    batch, beam = max(options.shapes)

    def work() -> None:
        for _ in range(batch):
            timers["mel"]()
            timers["encode"]()
        timers[f"{batch}x{beam}"]()

    return measure_energy(meter, work, batch * CHUNK_S)


def _measure_accuracy(checkpoint: Checkpoint, engines: Engines, mel: Array) -> dict[str, float]:
    """Return the distance from the reference engine: of states, and of a prompt's logits."""
    expected = ReferenceEncoder(checkpoint).encode(mel)
    encoded = engines.encoder.encode(mel)
    prompt = np.arange(N_PROMPT)[None]
    at = range(N_PROMPT)
    logits, oracle = (
        decoder.start([decoder.cross_kv(window)]).prefill(prompt, at)
        for decoder, window in (
            (engines.decoder, encoded),
            (ReferenceDecoder(checkpoint), expected),
        )
    )
    return {
        "states_relative_l2": relative_l2(encoded.states, expected.states),
        "logits_relative_l2": relative_l2(logits, oracle),
    }
