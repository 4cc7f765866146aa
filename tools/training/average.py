"""Average the weights of `demo` checkpoints of one run, and of runs that it continued.

    python -m tools.training.average demo stage4 stage5-1000 stage5

Checkpoints far apart in training make different errors, and their mean makes fewer (Izmailov et
al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization").
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

from whisper_npu_cli.checkpoints import huggingface
from whisper_npu_cli.checkpoints.huggingface import WEIGHTS_FILE
from whisper_npu_cli.checkpoints.safetensors import write_tensors


def average(out: Path, folders: list[Path]) -> None:
    """Write the mean of fp16 weights, computed in fp32, with the other files of the first."""
    checkpoints = [huggingface.load(folder) for folder in folders]
    mean = {
        name: np.mean([checkpoint.array(name) for checkpoint in checkpoints], axis=0)
        for name in checkpoints[0].tensors
    }
    shutil.copytree(folders[0], out)
    write_tensors(out / WEIGHTS_FILE, mean, "F16")


def main() -> None:
    """Average the checkpoints that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("checkpoints", type=Path, nargs="+", help="folders")
    args = parser.parse_args()
    average(args.out, args.checkpoints)


if __name__ == "__main__":
    main()
