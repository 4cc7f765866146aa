"""The NPU's worker process on the simulated array: what `--exact` starts in a checkout's root."""

from __future__ import annotations

from functools import partial

from mlir.simulate.operators import make_operators
from whisper_npu_cli.engines.npu import worker

if __name__ == "__main__":
    worker.main(partial(worker.open_simulated, operators=make_operators))
