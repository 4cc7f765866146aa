"""Measure one device: encoder, decoder and whole windows, interleaved with the limits.

Each run takes every measurement once, so that whatever else the machine does falls on all of
them alike; shares of a limit are taken within a run.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.bench.limits import Gemm, MemoryRead, supports_bf16
from whisper_npu_cli.bench.work import encoder_flop, step_bytes
from whisper_npu_cli.checkpoints import open_checkpoint
from whisper_npu_cli.decoder.base import Decoder
from whisper_npu_cli.dims import CHUNK_S, N_SAMPLES
from whisper_npu_cli.encoder.base import EncodedWindow, Encoder
from whisper_npu_cli.engine import EngineOptions, load_engines
from whisper_npu_cli.mel import log_mel
from whisper_npu_cli.weights import Checkpoint

N_PROMPT = 4  # start, language, task, and one more


@dataclass(frozen=True)
class BenchOptions:
    """What to measure."""

    model: str
    n_runs: int
    n_tokens: int
    shapes: tuple[tuple[int, int], ...]  # (batch, beam): windows, and rows for each


@dataclass
class Series:
    """One quantity over the runs."""

    values: list[float]

    def fields(self, unit: str) -> dict[str, float]:
        """Return median, minimum and 95th percentile, named with the unit."""
        p95 = quantiles(self.values, n=20)[-1] if len(self.values) > 1 else self.values[0]
        return {unit: median(self.values), f"min_{unit}": min(self.values), f"p95_{unit}": p95}


def bench_device(
    options: BenchOptions, engine: EngineOptions, notice: Callable[[str], None]
) -> dict[str, Any]:
    """Return the machine's rates and the device's times, JSON-ready. Run it in a fresh process.

    The peak of memory is the process's, taken before the reference engine checks the numbers.
    """
    checkpoint = open_checkpoint(options.model, offline=False)
    engines = load_engines(checkpoint, engine, notice)
    samples = np.random.default_rng(0).standard_normal(N_SAMPLES).astype(np.float32) * 0.1
    mel = log_mel(samples, checkpoint.dims.n_mels)
    encoder, decoder = engines.encoder, engines.decoder
    encoded = encoder.encode(mel)

    measurements: dict[str, Callable[[], float]] = {
        "mel": lambda: _ms(lambda: log_mel(samples, checkpoint.dims.n_mels)),
        "encode": lambda: _ms(lambda: encoder.encode(mel)),
    }
    for batch, beam in options.shapes:
        measurements[f"decode {batch} {beam}"] = _step_timer(
            decoder, encoded, batch, beam, options.n_tokens
        )
    for take in measurements.values():
        take()  # warm-up
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    limits: dict[str, Callable[[], float]] = {
        "gemm_fp32_gflops": Gemm("f32", engine.n_threads).gflops,
        "memory_read_gb_s": MemoryRead().gb_s,
    }
    if supports_bf16():
        limits["gemm_bf16_gflops"] = Gemm("bf16", engine.n_threads).gflops
    rates, times = _interleave(options.n_runs, limits, measurements)
    rows = _rows(checkpoint, options, engine, encoder.name, rates, times)
    return {
        "machine": {name: median(values) for name, values in rates.items()},
        "device": {
            "name": engines.device,
            "engines": {"encode": encoder.name, "decode": decoder.name},
            **rows,
            "peak_memory_mb": peak_mb,
            "accuracy": _accuracy(checkpoint, encoder, decoder, mel),
        },
    }


def _interleave(
    n_runs: int,
    limits: dict[str, Callable[[], float]],
    measurements: dict[str, Callable[[], float]],
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    rates: dict[str, list[float]] = {name: [] for name in limits}
    times: dict[str, list[float]] = {name: [] for name in measurements}
    for _ in range(n_runs):
        for name, take in limits.items():
            rates[name].append(take())
        for name, take in measurements.items():
            times[name].append(take())
    return rates, times
