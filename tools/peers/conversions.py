"""A checkpoint -> the file or folder that another program loads.

    python -m tools.peers.conversions openai-whisper FOLDER base.pt
    python -m tools.peers.conversions faster-whisper FOLDER base-ct2
    python -m tools.peers.conversions openvino-genai FOLDER base-int8
    python -m tools.peers.conversions whisper.cpp base.pt base.bin --whisper-cpp CHECKOUT

openai-whisper's file has fp16 weights, as its published files have, OpenVINO GenAI's int8 weights,
and whisper.cpp's is quantised to q8_0. CTranslate2's and OpenVINO's converters read a folder in
Hugging Face layout alone. The module needs `requirements.txt`.
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


def to_openvino(folder: Path, output: Path) -> None:
    """Write OpenVINO GenAI's folder, by optimum-intel."""
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig, OVWeightQuantizationConfig

    main_export(
        str(folder),
        str(output),
        task="automatic-speech-recognition-with-past",
        convert_tokenizer=True,
        ov_config=OVConfig(quantization_config=OVWeightQuantizationConfig(bits=8)),
    )


def to_ggml(model: Path, output: Path, checkout: Path) -> None:
    """Write whisper.cpp's file, by its own tools, from openai-whisper's."""
    import whisper

    script = checkout / "models" / "convert-pt-to-ggml.py"
    original = Path(whisper.__file__).parent.parent  # for its mel filters and its vocabulary
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, script, model, original, folder], check=True)
        quantize = checkout / "build" / "bin" / "whisper-quantize"
        subprocess.run([quantize, Path(folder) / "ggml-model.bin", output, "q8_0"], check=True)


CONVERTERS = {
    "openai-whisper": to_openai,
    "faster-whisper": to_ctranslate2,
    "openvino-genai": to_openvino,
}


def main() -> None:
    """Convert one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", choices=(*CONVERTERS, "whisper.cpp"))
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--whisper-cpp", type=Path, metavar="CHECKOUT")
    arguments = parser.parse_args()
    if arguments.program == "whisper.cpp":
        to_ggml(arguments.source, arguments.output, arguments.whisper_cpp)
    else:
        CONVERTERS[arguments.program](arguments.source, arguments.output)


if __name__ == "__main__":
    main()
