"""Measures a `demo` checkpoint: word error rate, word times, and silence on windows without speech.

    python scripts/evaluate_demo.py demo --fsdd ../shared/fsdd
    python scripts/evaluate_demo.py left-out --fsdd ../shared/fsdd --speakers jackson --all-takes

Clips are ten recordings joined with pauses of 0.1 to 0.8 s after 0 to 2 s of silence, either of one
speaker or (one clip in five) of several. Decoding is greedy, by Whisper's timestamp rules, on full
30 s windows and with the weights as stored (fp16). After the audio, windows are filled up with
zeros in the waveform (as transformers does) or in the spectrogram (as openai-whisper does).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from demo_clips import Clip, make_clips
from demo_data import FULL_WINDOW, RATE, SPEAKERS, TEST_INDICES, Composer, read_wav
from demo_export import (
    EOT,
    LANGUAGE,
    NO_SPEECH,
    NO_TIMESTAMPS,
    SOT,
    TIME,
    TRANSCRIBE,
    WORD_IDS,
)
from demo_model import Features, Whisper
from safetensors.torch import load_file
from torch import Tensor

BATCH = 8


def forbid(scores: Tensor, said: list[int]) -> None:
    """Whisper's rules, in place, for one next token's log probabilities: no blank start,
    timestamps in pairs, never back in time, the first at most 1 s, and before text if likelier."""
    scores[EOT + 1 : TIME] = -torch.inf
    if not said:
        scores[:TIME] = -torch.inf
        scores[TIME + 51 :] = -torch.inf
        return
    if said[-1] >= TIME:
        if len(said) == 1 or said[-2] >= TIME:
            scores[TIME:] = -torch.inf
        else:
            scores[:EOT] = -torch.inf
    stamps = [t for t in said if t >= TIME]
    fresh = said[-1] >= TIME and len(said) > 1 and said[-2] < TIME
    scores[TIME : stamps[-1] + (0 if fresh else 1)] = -torch.inf
    if scores[TIME:].logsumexp(0) > scores[:TIME].max():
        scores[:TIME] = -torch.inf


@torch.inference_mode()
def transcribe(model: Whisper, mel: Tensor) -> tuple[list[list[int]], Tensor]:
    """Greedy tokens of each window with timestamps, and its no-speech probability."""
    states = model.encoder(mel, torch.zeros(len(mel), dtype=torch.long))
    prompt = [SOT, LANGUAGE, TRANSCRIBE]
    said: list[list[int]] = [[] for _ in mel]
    running = set(range(len(mel)))
    for _step in range(200):
        length = max(len(s) for s in said)
        tokens = torch.tensor([prompt + s + [EOT] * (length - len(s)) for s in said])
        hidden, _looks = model.decoder(tokens, states)
        if length == 0:
            silent = model.decoder.logits(hidden[:, 0]).softmax(-1)[:, NO_SPEECH]
        scores = model.decoder.logits(hidden[:, -1]).log_softmax(-1)
        for row in list(running):
            forbid(scores[row], said[row])
            token = int(scores[row].argmax())
            said[row].append(token)
            if token == EOT:
                running.discard(row)
        if not running:
            break
    return said, silent


def edit_distance(wanted: list[int], got: list[int]) -> int:
    """Fewest substitutions, insertions and deletions between two sequences."""
    row = list(range(len(got) + 1))
    for i, a in enumerate(wanted, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(got, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]


def warp(cost: np.ndarray) -> np.ndarray:
    """First column of each row on the cheapest monotonic path through `cost`."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            best = min(total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
            total[i, j] = cost[i - 1, j - 1] + best
    firsts = np.zeros(rows, int)
    i, j = rows, columns
    while i > 0:
        firsts[i - 1] = j - 1
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda p: total[p])
    return firsts


@torch.inference_mode()
def word_starts(model: Whisper, mel: Tensor, digits: list[int], seconds: float) -> np.ndarray:
    """Starts of the words of one window by openai-whisper's method on the alignment head."""
    states = model.encoder(mel[None], torch.zeros(1, dtype=torch.long))
    tokens = [SOT, LANGUAGE, TRANSCRIBE, NO_TIMESTAMPS, *(WORD_IDS[d] for d in digits), EOT]
    _hidden, looks = model.decoder(torch.tensor([tokens]), states)
    weights = looks[-1][0, :, : int(seconds * 50)].softmax(-1)
    weights = (weights - weights.mean(0)) / weights.std(0, unbiased=False)
    padded = torch.nn.functional.pad(weights[None], (3, 3), mode="reflect")[0]
    smooth = padded.unfold(1, 7, 1).median(-1).values[3:-1]
    return warp(-smooth.numpy())[:-1] / 50


def load_model(folder: Path) -> Whisper:
    """The model of a checkpoint folder, computing in float32 with its fp16 weights."""
    model = Whisper()
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({n.removeprefix("model."): w.float() for n, w in weights.items()})
    return model


def spectrograms(clips: list[Clip], waveform_padding: bool) -> Tensor:
    """Features (batch, 80, 3000) of clips, filled up in the waveform or in the spectrogram."""
    mel = Features()(torch.from_numpy(np.stack([c.samples for c in clips])))
    for row, clip in zip(mel, clips, strict=True):
        if not waveform_padding:
            row[:, -(-clip.length // 160) :] = 0.0
    return mel


def measure_words(
    model: Whisper, clips: list[Clip], speakers: list[str], waveform_padding: bool
) -> None:
    """Print the word error rate and, on the clips without error, how exact times are."""
    wrong: list[int] = []
    stamps: list[float] = []
    starts: list[float] = []
    for first in range(0, len(clips), BATCH):
        batch = clips[first : first + BATCH]
        mel = spectrograms(batch, waveform_padding)
        for clip, row, tokens in zip(batch, mel, transcribe(model, mel)[0], strict=True):
            said = [WORD_IDS.index(t) if t in WORD_IDS else -1 for t in tokens if t < EOT]
            wrong.append(edit_distance(clip.digits, said))
            if wrong[-1] == 0:
                end = 0.02 * (max(t for t in tokens if t >= TIME) - TIME)
                stamps.append(abs(end - clip.times[-1][1]))
                found = word_starts(model, row, clip.digits, clip.times[-1][1] + 0.3)
                wanted = [start for start, _end in clip.times]
                starts.extend(abs(found[1:] - wanted[1:]))
    print(f"word error rate {sum(wrong) / (10 * len(clips)):.2%} of {10 * len(clips)} words")
    for number, speaker in enumerate(speakers):
        mine = wrong[number :: len(speakers)]
        print(f"  clips of {speaker}: {sum(mine) / (10 * len(mine)):.2%}")
    if starts:
        # The first word has no start of its own there: its row begins at the window's start.
        print(
            f"word starts off by {np.median(starts) * 1000:.0f} ms (median), "
            f"{np.mean(np.array(starts) <= 0.08):.1%} within 80 ms"
        )
        print(f"last timestamps off by {np.median(stamps) * 1000:.0f} ms (median)")


def measure_quiet(model: Whisper, waveform_padding: bool) -> None:
    """Print how often windows of digital silence, coloured noise or hum give text."""
    count, rng = int(FULL_WINDOW * RATE), np.random.default_rng(6)
    noises = Composer({}, {}, seed=5).noises
    time = np.arange(count) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * h * time) / h for h in range(1, 6)).astype(np.float32)
    windows = [Clip(np.zeros(count, np.float32), count // 3, [], [])]
    for number in range(47):
        noise = [*(noise[:count] for noise in noises), hum][number % 6]
        samples = np.clip(noise * np.float32(10 ** (rng.uniform(-80, -10) / 20)), -1, 1)
        length = count if number % 2 else int(rng.integers(count // 30, count))
        samples[length:] = 0.0
        windows.append(Clip(samples, length, [], []))
    texts, certain = 0, 0
    for first in range(0, len(windows), BATCH):
        mel = spectrograms(windows[first : first + BATCH], waveform_padding)
        said, silent = transcribe(model, mel)
        texts += sum(any(t < EOT for t in tokens) for tokens in said)
        certain += int((silent > 0.6).sum())
    print(
        f"{texts} of {len(windows)} windows without speech gave text; "
        f"no-speech probability above 0.6 in {certain}"
    )


def main() -> None:
    """Print the measures of one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--fsdd", type=Path, default=Path("../shared/fsdd"))
    parser.add_argument("--speakers", nargs="+", choices=SPEAKERS, default=list(SPEAKERS))
    parser.add_argument("--all-takes", action="store_true", help="also indices 5-49")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load_model(args.checkpoint)
    indices = range(50) if args.all_takes else TEST_INDICES
    clips = make_clips(
        lambda name: read_wav(args.fsdd / f"{name}.wav"), args.speakers, indices, args.clips
    )
    for waveform_padding in (True, False):
        print(f"zeros after the audio in the {'waveform' if waveform_padding else 'spectrogram'}:")
        measure_words(model, clips, args.speakers, waveform_padding)
        measure_quiet(model, waveform_padding)


if __name__ == "__main__":
    main()
