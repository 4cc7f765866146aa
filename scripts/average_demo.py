"""Averages the weights of `demo` checkpoints of one run and of those that it went on from.

    python scripts/average_demo.py demo stage4 stage5-1000 stage5

Far apart on the way, such checkpoints are wrong in different places, and their mean in fewer
(Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization").
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


def average(out: Path, checkpoints: list[Path]) -> None:
    """Write the mean of fp16 weights, computed in fp32, with the other files of the first."""
    weights = [load_file(folder / "model.safetensors") for folder in checkpoints]
    shutil.copytree(checkpoints[0], out)
    mean = {
        name: np.mean([one[name] for one in weights], axis=0, dtype=np.float32).astype(np.float16)
        for name in weights[0]
    }
    save_file(mean, out / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Average the checkpoints that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("checkpoints", type=Path, nargs="+", help="folders")
    args = parser.parse_args()
    average(args.out, args.checkpoints)


if __name__ == "__main__":
    main()
