"""Open a checkpoint in a process that is watched, and print what it did and touched.

python -m tools.torture.opening FOLDER_OR_FILE
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from whisper_npu_cli.checkpoints import formats
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.errors import WhisperNpuError

# Of Python's audit events: those of code that is run, or of the network
_DANGERS = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.", "socket.", "pickle."),
    *("os.remove", "os.rename", "os.mkdir", "ctypes.dlopen"),
)
_MOST_BYTES = 6 << 30  # of addresses, of which libraries take 2 GB


def main() -> None:
    """Open it, read its tensors and its tokenizer."""
    path = Path(sys.argv[1])
    random_checkpoint(ModelDims(80, 1500, 64, 1, 1, 1900, 32, 64, 1, 1)).tokenizer()  # imports
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    opened, done, told = set[str](), set[str](), ""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes):
            opened.add(os.path.realpath(os.fsdecode(arguments[0])))
        elif event.startswith(_DANGERS):
            done.add(event)

    sys.addaudithook(watch)
    try:
        checkpoint = formats.load(path)
        for name in checkpoint.tensors:
            checkpoint.array(name)
        checkpoint.tokenizer().encode("one two" + "a" * 40)
    except WhisperNpuError as error:
        told = str(error)
    except Exception as error:
        done.add(f"{type(error).__name__}: {error!s:.200}")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"told": told, "opened": sorted(opened), "done": sorted(done), "mb": peak_mb}))


if __name__ == "__main__":
    main()
