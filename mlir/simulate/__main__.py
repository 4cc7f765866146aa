"""Run the overlay without an NPU.

python -m mlir.simulate FILE [--model demo]   encode the first 30 s of a recording with the
                                              designs, beside the reference engine
python -m mlir.simulate --predict base        predict the encoder of a published size
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mlir.simulate import report
from mlir.simulate.operators import make_operators
from mlir.simulate.run import load_design, run_stream
from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.audio.mel import HostMel, log_mel
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.checkpoints.random import random_dims
from whisper_npu_cli.dims import N_SAMPLES
from whisper_npu_cli.engines.mel import EncoderMel
from whisper_npu_cli.engines.npu.encoder import NpuEncoder
from whisper_npu_cli.engines.npu.plan import plan_encoder
from whisper_npu_cli.engines.npu.standin.open import open_standin
from whisper_npu_cli.engines.reference import ReferenceEncoder
from whisper_npu_cli.errors import WhisperNpuError


def predict(size: str) -> None:
    """Print the predicted time of every command of a published model's encoder."""
    plan = plan_encoder(random_dims(size))
    memory = {
        spec: run_stream(spec, [np.zeros(a.size_bytes // 4, np.int32) for a in spec.arguments])
        for spec in plan.specs
    }
    print(report.describe_memory(load_design().make_program(plan.specs[0])))
    print("mel power of 30.7 s, computed twice: first for the recording's peak")
    print(report.format_table([(step.spec, memory[step.spec]) for step in plan.mel]))
    print("encoder")
    print(report.format_table([(step.spec, memory[step.spec]) for step in plan.steps]))


def encode(path: str, model: str) -> None:
    """Encode a recording on the array and by the reference engine; print how they differ."""
    checkpoint = open_checkpoint(model, offline=True)
    samples = _read_window(path)
    rows: list[report.Row] = []
    with TemporaryDirectory() as folder:
        standin = open_standin(
            Path(folder),
            plan_encoder(checkpoint.dims).specs,
            operators=partial(make_operators, listener=lambda *row: rows.append(row)),
        )
        encoder = NpuEncoder(checkpoint, *standin)
        rows.clear()  # drops those of the known-answer tests
        started = time.perf_counter()
        mel = log_mel(samples, EncoderMel(encoder, nullcontext()))
        found = encoder.encode(mel).widen()
        seconds = time.perf_counter() - started
    host_mel = log_mel(samples, HostMel(checkpoint.dims.n_mels))
    wanted = ReferenceEncoder(checkpoint).encode(host_mel)
    print(report.describe_memory(load_design().make_program(rows[0][0])))
    print(report.format_table(rows))
    print(f"simulated in {seconds:.1f} s")
    print(f"log-mel: at most {np.abs(mel - host_mel).max():.1e} from the host's")
    for name in ("states", "cross_keys", "cross_values"):
        print(f"cosine to the reference, {name}: {_compare(found, wanted, name):.6f}")


def _read_window(path: str) -> np.ndarray:
    """Return the first 30 s of a recording, mono at 16 kHz, padded."""
    samples = np.concatenate(list(FileSource(path).blocks()))[:N_SAMPLES]
    return np.pad(samples, (0, N_SAMPLES - len(samples)))


def _compare(found: object, wanted: object, name: str) -> float:
    a, b = (np.ravel(getattr(window, name)).astype(np.float64) for window in (found, wanted))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def main() -> int:
    """Parse the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mlir.simulate")
    parser.add_argument("file", nargs="?", help="a recording")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--predict", metavar="SIZE", help="tiny, base, small, medium, large-v3")
    arguments = parser.parse_args()
    try:
        if arguments.predict:
            predict(arguments.predict)
        elif arguments.file:
            encode(arguments.file, arguments.model)
        else:
            parser.error("give a recording or --predict SIZE")
    except WhisperNpuError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
