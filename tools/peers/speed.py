"""This program beside its peers on one machine, in one interleaved run, doing the same work.

    python -m tools.peers.speed --peers PYTHON
    python -m tools.peers.speed --peers PYTHON --parts growth --whisper-cpp CHECKOUT

PYTHON is an interpreter with `tools/peers/requirements.txt`; CHECKOUT is whisper.cpp, built in
`build/`. `results/README.md` tells what each program is given, and why the work is the same.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile

from tests.support.edits import count_edits
from tests.support.places import ROOT
from tests.support.real_models import fetch_real_models
from tests.support.real_speech import ENGLISH, LONG_ORDER, compose_long, split_words
from tools.peers.fixed_length import make_fixed_length_checkpoint
from tools.peers.programs import Ask
from tools.peers.report import draw_chart, make_growth_tables, make_real_table, make_table
from tools.peers.workers import Worker, convert
from tools.speech.steady import write_speech
from whisper_npu_cli.bench.energy import find_meter, measure_idle_watts
from whisper_npu_cli.bench.limits import Gemm, MemoryRead
from whisper_npu_cli.checkpoints import formats
from whisper_npu_cli.checkpoints.save import save_checkpoint
from whisper_npu_cli.dims import CHUNK_S, SAMPLE_RATE
from whisper_npu_cli.environment import collect_versions, read_cpu_name

OURS = "whisper-npu"
GREEDY, BEAM, BATCHED = {"beam": 1}, {"beam": 5}, {"batch": 8}
MAX_OFF = 0.04  # share of tokens; whisper.cpp ends a beam search up to 3 of 90 tokens early
PAUSE_S = 0.5  # before each measurement, so that threads that spin after work go to sleep


@dataclass(frozen=True)
class Setup:
    """Settings that all programs share."""

    folder: Path  # folder of models and audio
    peers: str  # interpreter of the peers
    whisper_cpp: Path | None  # checkout of whisper.cpp
    n_threads: int
    n_tokens: int  # tokens in a window

    @property
    def window(self) -> Path:
        """A file of one window of speech, to warm up with."""
        return self.folder / "window.wav"


@dataclass(frozen=True)
class Row:
    """A program, the precision of its weights or arithmetic, and its options."""

    program: str
    precision: str
    ask: dict[str, Any]

    @property
    def way(self) -> str:
        """Greedy, beam 5 or batch 8; only equal ways are compared."""
        return " ".join(f"{k} {v}" for k, v in self.ask.items()).replace("beam 1", "greedy")


TABLE = [
    *(Row(OURS, "auto", ask) for ask in (GREEDY, BEAM, BATCHED)),
    *(Row("faster-whisper", "int8", ask) for ask in (GREEDY, BEAM, BATCHED)),
    *(Row("faster-whisper", "float32", ask) for ask in (GREEDY, BEAM, BATCHED)),
    Row("openai-whisper", "float32", GREEDY),
    Row("transformers", "float32", GREEDY),
    Row("transformers", "float32", BATCHED),
    Row("openvino-genai", "int8", GREEDY),
    Row("openvino-genai", "int8", BEAM),
    Row("whisper.cpp", "q8_0", GREEDY),
    Row("whisper.cpp", "q8_0", BEAM),
]
REAL = "OpenAI's base"
REAL_REPEATS = 4  # of 2.7 minutes


class Models:
    """Checkpoints by size, made and converted when they are first needed."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def worker(self, row: Row, size: str) -> Worker:
        """Start the program of `row` with its model loaded."""
        setup = self._setup
        arguments: dict[str, Any] = {"n_threads": setup.n_threads}
        python = sys.executable if row.program == OURS else setup.peers
        if row.program in (OURS, "transformers"):
            arguments["model"] = str(self.saved(size))
        else:
            arguments["model"] = str(self.converted(row.program, size))
        if row.program in (OURS, "faster-whisper"):
            arguments["precision"] = row.precision
        elif row.program == "openai-whisper":
            arguments["checkpoint"] = str(self.saved(size))
        elif row.program == "whisper.cpp" and setup.whisper_cpp:
            arguments["binary"] = str(setup.whisper_cpp / "build" / "bin" / "whisper-cli")
        return Worker(python, row.program, **arguments)

    def saved(self, size: str) -> Path:
        """Return the folder of a model."""
        folder = self._setup.folder / size
        if not folder.exists() and size == REAL:
            save_checkpoint(formats.load(fetch_real_models()["base"]), folder)
        elif not folder.exists():
            save_checkpoint(make_fixed_length_checkpoint(size, self._setup.n_tokens), folder)
        return folder

    def converted(self, program: str, size: str) -> Path:
        """Return a model in a program's format."""
        setup = self._setup
        output = setup.folder / f"{size}-{program}.model"
        if output.exists():
            return output
        if program == "whisper.cpp":
            source = self.converted("openai-whisper", size)
            convert(setup.peers, program, source, output, "--whisper-cpp", str(setup.whisper_cpp))
        else:
            convert(setup.peers, program, self.saved(size), output)
        return output


class Limits:
    """The limits of the machine, and what it takes idle, measured again in every round."""

    def __init__(self, n_threads: int) -> None:
        self._timers = {
            "gemm_fp32_gflops": Gemm("f32", n_threads).measure_gflops,
            "memory_read_gb_s": MemoryRead().measure_gb_s,
        }
        self._meter = find_meter()
        if self._meter:
            self._timers["idle_w"] = partial(measure_idle_watts, self._meter)
        self._rates: dict[str, list[float]] = {name: [] for name in self._timers}

    def measure_joules(self, work: Callable[[], object]) -> float | None:
        """Run `work`; return its joules above the idle machine's, None where nothing tells them."""
        if self._meter is None:
            work()
            return None
        start = time.perf_counter()
        joules = self._meter.measure(work)
        return joules - self._rates["idle_w"][-1] * (time.perf_counter() - start)

    def take(self) -> None:
        """Measure all limits once."""
        for name, timer in self._timers.items():
            self._rates[name].append(timer())

    def medians(self) -> dict[str, float]:
        """Return the medians of the rounds."""
        return {name: median(rates) for name, rates in self._rates.items()}


def transcribe(worker: Worker, row: Row, audio: Path, n_expected: int) -> dict[str, Any]:
    """Return seconds and memory; SystemExit if the number of tokens is wrong."""
    ask = Ask(str(audio), timestamps=False, previous_text=False, **row.ask)
    reply = _transcribe_rested(worker, row, ask)
    n_tokens = sum(len(segment["tokens"]) for segment in reply.pop("segments"))
    if abs(n_tokens - n_expected) > MAX_OFF * n_expected:
        raise SystemExit(f"{row.program} {row.way}: {n_tokens} tokens, not {n_expected}")
    return reply


def transcribe_real(worker: Worker, row: Row, audio: Path, said: Sequence[str]) -> dict[str, Any]:
    """Return seconds, memory, and what of the words `said` is wrong, as people use a program."""
    reply = _transcribe_rested(worker, row, Ask(str(audio), **row.ask))
    heard = split_words(" ".join(segment["text"] for segment in reply.pop("segments")))
    return reply | {"word_error_rate": count_edits(said, heard) / len(said)}


def measure_table(
    setup: Setup, models: Models, size: str, n_windows: int, n_rounds: int
) -> dict[str, Any]:
    """Measure all rows on windows of equal texts."""
    audio = setup.folder / "speech.wav"
    write_speech(audio, n_windows)

    def run(worker: Worker, row: Row) -> dict[str, Any]:
        return transcribe(worker, row, audio, n_windows * setup.n_tokens)

    measured = _measure_rounds(setup, models, size, n_rounds, run)
    return measured | {"n_windows": n_windows, "duration_s": n_windows * CHUNK_S}


def measure_real(setup: Setup, models: Models, n_rounds: int) -> dict[str, Any]:
    """Measure all rows but transformers' batches, which have no timestamps, on real speech."""
    audio = setup.folder / "real.wav"
    samples = np.tile(compose_long(), REAL_REPEATS)
    soundfile.write(audio, samples, SAMPLE_RATE)
    said = split_words(" ".join(ENGLISH[name] for name in LONG_ORDER)) * REAL_REPEATS

    def run(worker: Worker, row: Row) -> dict[str, Any]:
        return transcribe_real(worker, row, audio, said)

    measured = _measure_rounds(setup, models, REAL, n_rounds, run)
    return measured | {"duration_s": samples.size / SAMPLE_RATE}


def _measure_rounds(
    setup: Setup,
    models: Models,
    size: str,
    n_rounds: int,
    run: Callable[[Worker, Row], dict[str, Any]],
) -> dict[str, Any]:
    """Run all rows once a round, each in a process of its own, after a warm-up."""
    rows = [
        row
        for row in TABLE
        if (setup.whisper_cpp or row.program != "whisper.cpp")
        and (size != REAL or (row.program, row.ask) != ("transformers", BATCHED))
    ]
    results: list[dict[str, Any]] = [
        vars(row) | {"way": row.way, "seconds": [], "joules": []} for row in rows
    ]
    limits, found = Limits(setup.n_threads), collect_versions()
    if setup.whisper_cpp:
        found["whisper.cpp"] = read_commit(setup.whisper_cpp)
    with ExitStack() as stack:
        workers = [stack.enter_context(models.worker(row, size)) for row in rows]
        for worker, row in zip(workers, rows, strict=True):
            found |= worker.versions
            worker.transcribe(Ask(str(setup.window), timestamps=False, **row.ask))
        for _ in range(n_rounds):
            limits.take()
            for worker, row, result in zip(workers, rows, results, strict=True):
                joules = limits.measure_joules(partial(_run_into, result, run, worker, row))
                result["joules"].append(joules)
    return {"versions": found, "machine": limits.medians(), "model": size, "rows": results}


def _run_into(
    result: dict[str, Any], run: Callable[[Worker, Row], dict[str, Any]], worker: Worker, row: Row
) -> None:
    reply = run(worker, row)
    result["seconds"].append(reply.pop("seconds"))
    result.update(reply)


def _transcribe_rested(worker: Worker, row: Row, ask: Ask) -> dict[str, Any]:
    time.sleep(PAUSE_S)
    reply = worker.transcribe(ask)
    print(f"{row.program} {row.precision} {row.way}: {reply['seconds']:.1f} s", file=sys.stderr)
    return reply


def measure_growth(setup: Setup, models: Models, plan: dict[str, Sequence[Any]]) -> dict[str, Any]:
    """Measure how cost grows with the length of the audio, the batch, and the model."""
    rows = [Row(OURS, "auto", BATCHED), Row("faster-whisper", "int8", BATCHED)]
    return {
        "minutes": list(_by_length(setup, models, rows, plan["minutes"])),
        "batches": list(_by_batch(setup, models, rows, plan["batches"])),
        "sizes": list(_by_size(setup, models, rows, plan["sizes"])),
    }


def _by_length(
    setup: Setup, models: Models, rows: Sequence[Row], minutes: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """Yield results of tiny in batches of 8; a process for each length has a peak of its own."""
    audio = setup.folder / "long.wav"
    for length in minutes:
        n_windows = round(length * 60 / CHUNK_S)
        write_speech(audio, n_windows)
        for row in rows:
            with models.worker(row, "tiny") as worker:
                transcribe(worker, row, setup.window, setup.n_tokens)
                reply = transcribe(worker, row, audio, n_windows * setup.n_tokens)
            yield {"program": row.program, "minutes": length, "n_windows": n_windows} | reply


def _by_batch(
    setup: Setup, models: Models, rows: Sequence[Row], batches: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yield results of tiny for each batch size, on as many windows as the largest batch has."""
    audio, n_windows = setup.folder / "batch.wav", max(batches)
    write_speech(audio, n_windows)
    with ExitStack() as stack:
        workers = [stack.enter_context(models.worker(row, "tiny")) for row in rows]
        for worker, row in zip(workers, rows, strict=True):
            transcribe(worker, row, setup.window, setup.n_tokens)
        for batch in batches:
            for worker, row in zip(workers, rows, strict=True):
                asked = Row(row.program, row.precision, {"batch": batch})
                reply = transcribe(worker, asked, audio, n_windows * setup.n_tokens)
                yield {"program": row.program, "batch": batch, "n_windows": n_windows} | reply


def _by_size(
    setup: Setup, models: Models, rows: Sequence[Row], sizes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield results of each size, greedy, on two windows after one to warm up."""
    audio, n_windows = setup.folder / "size.wav", 2
    write_speech(audio, n_windows)
    for size in sizes:
        for row in rows:
            asked = Row(row.program, row.precision, GREEDY)
            with models.worker(asked, size) as worker:
                transcribe(worker, asked, setup.window, setup.n_tokens)
                reply = transcribe(worker, asked, audio, n_windows * setup.n_tokens)
            yield {"program": row.program, "size": size, "n_windows": n_windows} | reply


def main() -> None:
    """Measure, print the tables, and write them with the chart to `results/`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--whisper-cpp", type=Path, metavar="CHECKOUT", help="with its build/")
    parser.add_argument("--parts", nargs="+", choices=("table", "growth", "real"))
    parser.add_argument("--model", default="base", help="size of the table's model")
    parser.add_argument("--windows", type=int, default=8, help="of 30 s, in the table's audio")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=90, help="of each window")
    parser.add_argument("--threads", type=int, default=2, help="of every program")
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.5, 10, 120])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--sizes", nargs="+", default=["tiny", "base", "small", "medium"])
    parser.add_argument("--output", type=Path, default=ROOT / "tools" / "peers" / "results")
    arguments = parser.parse_args()
    parts = arguments.parts or ["table", "growth", "real"]
    with tempfile.TemporaryDirectory() as name:
        setup = Setup(
            folder=Path(name),
            peers=arguments.peers,
            whisper_cpp=arguments.whisper_cpp,
            n_threads=arguments.threads,
            n_tokens=arguments.tokens,
        )
        write_speech(setup.window, 1)
        models = Models(setup)
        about = {"date": f"{date.today():%Y-%m-%d}", "threads": setup.n_threads}
        about |= {"tokens_per_window": setup.n_tokens, "cpu": _describe_cpu()}
        if "table" in parts:
            measured = about | measure_table(
                setup, models, arguments.model, arguments.windows, arguments.rounds
            )
            _write(arguments.output / "peers", measured, make_table)
            (arguments.output / "peers.svg").write_text(draw_chart(measured))
        if "real" in parts:
            measured = about | measure_real(setup, models, arguments.rounds)
            _write(arguments.output / "real", measured, make_real_table)
        if "growth" in parts:
            plan = {key: getattr(arguments, key) for key in ("minutes", "batches", "sizes")}
            measured = about | measure_growth(setup, models, plan)
            _write(arguments.output / "growth", measured, make_growth_tables)


def read_commit(checkout: Path) -> str:
    """Return the short name of the commit that a checkout has."""
    command = ["git", "-C", str(checkout), "log", "-1", "--format=%h"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _describe_cpu() -> str:
    """Return the processor's name and those of its extensions that matter here."""
    text = Path("/proc/cpuinfo").read_text()
    flags = re.findall(r"flags\s*: (.*)", text)[0].split()
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16") if flag in flags]
    return f"{read_cpu_name()} ({', '.join(known)})"


def _write(path: Path, document: dict[str, Any], render: Any) -> None:
    """Write the measurements and their tables side by side, and print the tables."""
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    text = render(document)
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
