"""A checkpoint -> the file or folder that another program loads.

    python -m tools.peers.conversions openai-whisper FOLDER base.pt
    python -m tools.peers.conversions faster-whisper FOLDER base-ct2
    python -m tools.peers.conversions whisper.cpp base.pt base.bin --whisper-cpp CHECKOUT

openai-whisper's file has fp16 weights, as its published files have, and whisper.cpp's is quantised
to q8_0. CTranslate2's converter reads a folder in Hugging Face layout alone. The module needs
openai-whisper and faster-whisper.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.goldens.original import load_original
from whisper_npu_cli.checkpoints import formats


def to_openai(folder: Path, output: Path) -> None:
    """Write openai-whisper's file: the same arrays by its names, in fp16."""
    import torch

    checkpoint = formats.load(folder)
    state = load_original(checkpoint).half().state_dict()
    torch.save({"dims": vars(checkpoint.dims), "model_state_dict": state}, output)


def to_ctranslate2(folder: Path, output: Path) -> None:
    """Write CTranslate2's folder, by its own converter."""
    from ctranslate2.converters import TransformersConverter

    copied = ["tokenizer.json", "preprocessor_config.json"]
    with tempfile.TemporaryDirectory() as complete:
        shutil.copytree(folder, complete, dirs_exist_ok=True)
        # The converter reads the tokenizer through transformers, which needs the name of its class.
        class_name = {"tokenizer_class": "WhisperTokenizer", "unk_token": "<|endoftext|>"}
        (Path(complete) / "tokenizer_config.json").write_text(json.dumps(class_name))
        TransformersConverter(complete, copy_files=copied).convert(str(output), force=True)


def to_ggml(model: Path, output: Path, checkout: Path) -> None:
    """Write whisper.cpp's file, by its own tools, from openai-whisper's."""
    import whisper

    script = checkout / "models" / "convert-pt-to-ggml.py"
    original = Path(whisper.__file__).parent.parent  # for its mel filters and its vocabulary
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, script, model, original, folder], check=True)
        quantize = checkout / "build" / "bin" / "whisper-quantize"
        subprocess.run([quantize, Path(folder) / "ggml-model.bin", output, "q8_0"], check=True)


def main() -> None:
    """Convert one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", choices=("openai-whisper", "faster-whisper", "whisper.cpp"))
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--whisper-cpp", type=Path, metavar="CHECKOUT")
    arguments = parser.parse_args()
    if arguments.program == "openai-whisper":
        to_openai(arguments.source, arguments.output)
    elif arguments.program == "faster-whisper":
        to_ctranslate2(arguments.source, arguments.output)
    else:
        to_ggml(arguments.source, arguments.output, arguments.whisper_cpp)


if __name__ == "__main__":
    main()
