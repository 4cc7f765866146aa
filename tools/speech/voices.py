"""Single spoken digits by voice, of people and of Debian's free speech synthesizers.

The human recordings are those of the Free Spoken Digit Dataset (FSDD). Times are seconds.
"""

from __future__ import annotations

import itertools
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tests.support.digits import WORDS

TEST_INDICES = range(5)  # FSDD's own test split: never in training


@dataclass(frozen=True)
class Word:
    """One recorded digit; `start` and `end` bound its audible part inside `samples`."""

    digit: int
    samples: np.ndarray
    rate: int
    start: float
    end: float


Voices = dict[str, list[list[Word]]]  # voice name -> digit -> its takes


def read_samples(path: Path) -> tuple[np.ndarray, int]:
    """Return the samples (n,) of a mono file, fp32 in [-1, 1), and their rate in Hz."""
    samples, rate = soundfile.read(path, dtype="float32")
    return samples, rate


def find_word(samples: np.ndarray, rate: int) -> tuple[float, float]:
    """Return the bounds of audible 20 ms frames, whose energy is within 30 dB of the peak."""
    hop = rate // 100
    power = np.convolve(samples.astype(np.float64) ** 2, np.ones(2 * hop) / (2 * hop), "same")[
        ::hop
    ]
    loud = np.flatnonzero(power > max(power.max() * 1e-3, 2.0 * np.percentile(power, 5)))
    if not len(loud):
        return 0.0, len(samples) / rate
    return float(loud[0]) / 100, min(float(loud[-1] + 1) / 100, len(samples) / rate)


def make_word(digit: int, samples: np.ndarray, rate: int) -> Word:
    """Return a word at peak level 0.5, with its audible part found and most silence cut away."""
    start, end = find_word(samples, rate)
    first = max(0, int((start - 0.08) * rate))
    samples = samples[first : int((end + 0.08) * rate)]
    samples = samples * (0.5 / max(float(np.abs(samples).max()), 1e-4))
    return Word(digit, samples, rate, start - first / rate, end - first / rate)


def load_recordings(folder: Path, indices: range) -> Voices:
    """Return the FSDD takes `{digit}_{speaker}_{index}.wav` of some indices, by speaker."""
    speakers = sorted({path.stem.split("_")[1] for path in folder.glob("[0-9]_*_*.wav")})
    if not speakers:
        raise FileNotFoundError(f"{folder}: no DIGIT_SPEAKER_INDEX.wav")
    return {
        speaker: [
            [make_word(d, *read_samples(folder / f"{d}_{speaker}_{i}.wav")) for i in indices]
            for d in range(10)
        ]
        for speaker in speakers
    }


# Accents and variants of espeak-ng's voices.
ACCENTS = (
    "en-us",
    "en-gb",
    "en-gb-scotland",
    "en-029",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-us-nyc",
)
VARIANTS = """
    m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt4 Annie Andy Alex Alicia Andrea
    Denis Diogo Gene Lee Marco Mario Michael Mike adam anika belinda benjamin caleb david ed
    grandma grandpa john linda max michel miguel paul rob robert sandro shelby steph travis
    victor zac whisper whisperf croak
"""


def list_commands() -> list[tuple[str, list[str]]]:
    """Return (voice, command) of every synthetic take, with `{word}` and `{out}` to fill in."""
    rng = np.random.default_rng(7)
    commands = []
    for number, variant in enumerate(VARIANTS.split()):
        for take in range(4):
            accent = ACCENTS[(number + take) % len(ACCENTS)]
            pitch, speed = rng.integers(15, 85), rng.integers(110, 210)
            command = f"espeak-ng -v {accent}+{variant} -p {pitch} -s {speed} -w {{out}}".split()
            commands.append((f"espeak-{variant}", [*command, "{word}"]))
    for voice, stretch in itertools.product(("kal", "kal16", "awb", "rms", "slt"), range(6)):
        features = f"--setf duration_stretch={0.8 + 0.12 * stretch:.2f}".split()
        if stretch % 2:
            features += f"--setf int_f0_target_mean={rng.integers(80, 230)}".split()
        command = ["flite", "-voice", voice, *features, "-t", "{word}", "-o", "{out}"]
        commands.append((f"flite-{voice}", command))
    for voice, stretch in itertools.product(("ked_diphone", "cmu_us_slt_arctic_hts"), range(3)):
        script = (
            f"(begin (voice_{voice}) (Parameter.set 'Duration_Stretch {0.85 + 0.2 * stretch:.2f})"
            ' (utt.save.wave (utt.synth (Utterance Text "{word}")) "{out}" \'riff))'
        )
        commands.append((f"festival-{voice}", ["festival", "-b", script]))
    return commands


def synthesize_voices(cache: Path) -> Voices:
    """Return all synthetic takes (2,560 words), made once, then read from the folder `cache`."""
    voices: Voices = {}
    cache.mkdir(parents=True, exist_ok=True)
    for number, (voice, command) in enumerate(list_commands()):
        for digit, word in enumerate(WORDS):
            path = cache / f"{number}_{digit}.wav"
            if not path.exists():
                text = word + (".", "?", "", ",")[(number + digit) % 4]
                with tempfile.TemporaryDirectory() as folder:
                    made = Path(folder) / "word.wav"
                    line = [a.replace("{word}", text).replace("{out}", str(made)) for a in command]
                    subprocess.run(line, check=True, capture_output=True)
                    path.write_bytes(made.read_bytes())
            takes = voices.setdefault(voice, [[] for _ in WORDS])
            samples, rate = read_samples(path)
            if len(samples) > rate // 10:
                takes[digit].append(make_word(digit, samples, rate))
    return voices
