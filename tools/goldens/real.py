"""Make `tests/golden/real.json`: what openai-whisper and faster-whisper write with real weights.

    python -m tools.goldens.real --peers PYTHON

PYTHON is an interpreter with `tools/peers/requirements.txt`. This one reads the recordings of
`../shared/audio`, because only it has the decoders of this program, and hands over samples. Both
programs decode the clips in fp32 at temperature 0 without fallback, as random draws could not be
compared, and the long recording with their own defaults but for the search, which is greedy.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.places import GOLDEN, ROOT
from tests.support.real_models import SHA256, fetch_real_models
from tests.support.real_speech import CLIPS, LONG, RUSSIAN, read_clip
from tools.goldens.original import load_original
from whisper_npu_cli.checkpoints.names import open_checkpoint

FALLBACK = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # openai-whisper's temperatures
N_LANGUAGES = 3  # the likeliest ones, whose probabilities are kept


def main() -> None:
    """Write the recordings' samples, have the peers transcribe them, and write the goldens."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", required=True, metavar="PYTHON")
    parser.add_argument("--samples", type=Path, help="folder of samples: this is the peers' part")
    arguments = parser.parse_args()
    if arguments.samples:
        json.dump(transcribe_all(arguments.samples), sys.stdout)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in {*CLIPS["tiny.en"], *CLIPS["base"], LONG}:
            np.save(Path(folder) / name, read_clip(name))
        command = [arguments.peers, "-m", "tools.goldens.real", "--peers", "", "--samples", folder]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    (GOLDEN / "real.json").write_bytes(done.stdout + b"\n")


def transcribe_all(samples: Path) -> dict[str, Any]:
    """Return the goldens of both models."""
    versions = {name: version(name) for name in ("openai-whisper", "faster-whisper", "torch")}
    models = {
        name: {
            "sha256": SHA256[name],
            "clips": transcribe_original(name, path, samples),
            "faster-whisper": transcribe_faster(name, path, samples),
        }
        for name, path in fetch_real_models().items()
    }
    return {"versions": versions, "models": models}


def transcribe_original(model: str, path: Path, samples: Path) -> dict[str, Any]:
    """Return the segments that openai-whisper writes, by recording and search."""
    import torch

    original = load_original(open_checkpoint(str(path), offline=True))
    clips: dict[str, Any] = {}
    for name in (*CLIPS[model], LONG):
        audio = np.load(samples / f"{name}.npy")
        language = language_of(name)
        if name == LONG:
            torch.manual_seed(0)
            clips[name] = {"greedy": transcribe(original, audio, language, temperature=FALLBACK)}
            continue
        clips[name] = {
            "languages": detect_languages(original, audio) if model == "base" else {},
            "greedy": transcribe(original, audio, language, word_timestamps=True),
            "beam 5": transcribe(original, audio, language, beam_size=5),
        }
    return clips


def language_of(name: str) -> str:
    """Return the language of a recording."""
    return "ru" if name in RUSSIAN else "en"


def detect_languages(original: Any, audio: Any) -> dict[str, float]:
    """Return the likeliest languages of the first 30 s."""
    import whisper

    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(audio), original.dims.n_mels)
    _, probs = original.detect_language(mel)
    ranked = sorted(probs.items(), key=lambda item: -item[1])[:N_LANGUAGES]
    return {code: round(prob, 4) for code, prob in ranked}


def transcribe(original: Any, audio: Any, language: str, **options: Any) -> list[dict[str, Any]]:
    """Return the tokens of each segment, and its words with their times."""
    given = {"temperature": 0.0, "fp16": False, "verbose": None} | options
    result = original.transcribe(audio, language=language, **given)
    return [
        {
            "text": segment["text"],
            "tokens": segment["tokens"],
            "words": [
                [word["word"], round(float(word["start"]), 2), round(float(word["end"]), 2)]
                for word in segment.get("words", ())
            ],
        }
        for segment in result["segments"]
    ]


def transcribe_faster(model: str, path: Path, samples: Path) -> dict[str, Any]:
    """Return the texts that faster-whisper writes in float32, by recording and mode."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    faster = WhisperModel(str(path), "cpu", compute_type="float32")
    batched = BatchedInferencePipeline(faster)
    texts: dict[str, Any] = {}
    for name in (*CLIPS[model], LONG):
        audio = np.load(samples / f"{name}.npy")
        given: dict[str, Any] = {"language": language_of(name)}
        if name == LONG:
            texts[name] = {
                "sequential": join(faster.transcribe(audio, beam_size=1, **given)),
                "batched": join(batched.transcribe(audio, beam_size=1, **given)),
            }
            continue
        given["temperature"] = 0.0
        texts[name] = {
            "greedy": join(faster.transcribe(audio, beam_size=1, **given)),
            "beam 5": join(faster.transcribe(audio, beam_size=5, **given)),
        }
    return texts


def join(transcribed: tuple[Any, Any]) -> str:
    """Return the text of faster-whisper's segments."""
    return "".join(segment.text for segment in transcribed[0])


if __name__ == "__main__":
    main()
