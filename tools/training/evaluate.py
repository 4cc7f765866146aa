"""Measure a `demo` checkpoint: word error rate, word times, and text on windows without speech.

    python -m tools.training.evaluate demo --fsdd ../shared/fsdd
    python -m tools.training.evaluate left-out --fsdd ../shared/fsdd --speakers jackson --all-takes

A clip is ten recordings after 0 to 2 s of silence, with pauses of 0.1 to 0.8 s between them, of one
speaker or, one clip in five, of several. Decoding is greedy, by Whisper's timestamp rules, on full
30 s windows, by the reference engine, with the weights as stored (fp16). After the audio, windows
are filled up with zeros in the waveform, as transformers does, or in the spectrogram, as
openai-whisper does.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.digits import SPEAKERS, WORDS
from tests.support.edits import count_edits
from tools.speech.clips import Clip, make_clips
from tools.speech.composer import Composer
from tools.speech.voices import TEST_INDICES, read_samples
from whisper_npu_cli.audio.mel import HostMel, log_mel
from whisper_npu_cli.checkpoints import huggingface
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.decoding.align import Spoken, align_words
from whisper_npu_cli.decoding.retry import DecodedWindow, PromptedWindow, WindowDecoder
from whisper_npu_cli.dims import (
    FRAMES_PER_SECOND,
    HOP_LENGTH,
    N_SAMPLES,
    SAMPLE_RATE,
    TIME_PRECISION_S,
)
from whisper_npu_cli.engines.base import CrossKV
from whisper_npu_cli.engines.reference import ReferenceDecoder, ReferenceEncoder
from whisper_npu_cli.options import DecodingOptions

BATCH = 8
N_QUIET = 48  # number of windows without speech
WORD_S = 0.08  # seconds that a word's start may be off


class Model:
    """A checkpoint on the reference engine: clips in, decoded windows out."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.tokenizer = checkpoint.tokenizer()
        self._mel = HostMel(checkpoint.dims.n_mels)
        self._encoder, self._decoder = ReferenceEncoder(checkpoint), ReferenceDecoder(checkpoint)
        greedy = DecodingOptions(beam_size=None, temperature_increment_on_fallback=None)
        self._windows = WindowDecoder(self._decoder, self.tokenizer, greedy)

    def encode(self, clip: Clip, waveform_padding: bool) -> CrossKV:
        """Encode a clip, filled up in the waveform or in the spectrogram."""
        mel = log_mel(clip.samples, self._mel)
        if not waveform_padding:
            mel[:, -(-clip.length // HOP_LENGTH) :] = 0.0
        return self._decoder.cross_kv(self._encoder.encode(mel))

    def decode(self, windows: Sequence[CrossKV]) -> list[DecodedWindow]:
        """Decode windows greedily, with timestamps."""
        prompt = self.tokenizer.sot_sequence("en")
        return self._windows.decode([PromptedWindow(window, "en", prompt) for window in windows])

    def find_word_starts(self, window: CrossKV, text: str, end_s: float) -> NDArray[np.float64]:
        """Return the starts (n_words,) of the words of `text`; speech ends at `end_s`."""
        tokens, n_frames = self.tokenizer.encode(text), int(end_s * FRAMES_PER_SECOND)
        spoken = Spoken(tokens, "en", "transcribe", n_frames)
        words = align_words(self._decoder, window, self.tokenizer, spoken)
        return np.array([word.start for word in words])


@dataclass(frozen=True)
class Score:
    """Errors in a clip; those of times are in seconds, and only there if no word is wrong."""

    n_wrong: int
    starts_off: Sequence[float] = ()  # errors of all words' starts but the first
    stamps_off: Sequence[float] = ()  # error of the last timestamp


def score_clips(model: Model, clips: Sequence[Clip], waveform_padding: bool) -> Iterator[Score]:
    """Yield the scores of clips in order."""
    for first in range(0, len(clips), BATCH):
        batch = clips[first : first + BATCH]
        windows = [model.encode(clip, waveform_padding) for clip in batch]
        for clip, window, decoded in zip(batch, windows, model.decode(windows), strict=True):
            yield score_clip(model, clip, window, decoded.tokens)


def score_clip(model: Model, clip: Clip, window: CrossKV, tokens: Sequence[int]) -> Score:
    """Compare the tokens decoded from a clip with the digits said in it."""
    said = " ".join(WORDS[digit] for digit in clip.digits)
    n_wrong = count_edits(said.split(), model.tokenizer.decode(tokens).split())
    if n_wrong:
        return Score(n_wrong)
    last = clip.times[-1][1]
    stamp_s = TIME_PRECISION_S * (max(tokens) - model.tokenizer.timestamp_begin)
    # The first word is left out: its row always begins at the window's start.
    starts = model.find_word_starts(window, f" {said}", last + 0.3)[1:]
    wanted = [start for start, _end in clip.times[1:]]
    return Score(0, starts_off=np.abs(starts - wanted).tolist(), stamps_off=[abs(stamp_s - last)])


def print_scores(scores: Sequence[Score], speakers: Sequence[str]) -> None:
    """Print the word error rate and, for clips without errors, how exact the times are."""
    wrong = [score.n_wrong for score in scores]
    n_words = len(WORDS) * len(scores)
    print(f"word error rate {sum(wrong) / n_words:.2%} of {n_words} words")
    for number, speaker in enumerate(speakers):
        mine = wrong[number :: len(speakers)]
        print(f"  clips of {speaker}: {sum(mine) / (len(WORDS) * len(mine)):.2%}")
    starts = np.concatenate([score.starts_off for score in scores])
    stamps = np.concatenate([score.stamps_off for score in scores])
    if starts.size:
        print(
            f"word starts off by {np.median(starts) * 1000:.0f} ms (median), "
            f"{np.mean(starts <= WORD_S):.1%} within {WORD_S * 1000:.0f} ms"
        )
        print(f"last timestamps off by {np.median(stamps) * 1000:.0f} ms (median)")


def make_quiet_clips() -> Iterator[Clip]:
    """Yield windows of digital silence, coloured noise or hum."""
    rng = np.random.default_rng(6)
    noises = Composer({}, {}, seed=5).noises
    time = np.arange(N_SAMPLES) / SAMPLE_RATE
    partials = [np.sin(2 * np.pi * 50 * h * time) / h for h in range(1, 6)]
    hum = np.sum(partials, axis=0).astype(np.float32)
    yield Clip(np.zeros(N_SAMPLES, np.float32), N_SAMPLES // 3, [], [])
    for number in range(N_QUIET - 1):
        noise = [*(noise[:N_SAMPLES] for noise in noises), hum][number % 6]
        samples = np.clip(noise * np.float32(10 ** (rng.uniform(-80, -10) / 20)), -1, 1)
        length = N_SAMPLES if number % 2 else int(rng.integers(N_SAMPLES // 30, N_SAMPLES))
        samples[length:] = 0.0
        yield Clip(samples, length, [], [])


def print_quiet(model: Model, waveform_padding: bool) -> None:
    """Print how often windows without speech give text."""
    windows = [model.encode(clip, waveform_padding) for clip in make_quiet_clips()]
    decoded: list[DecodedWindow] = []
    for first in range(0, len(windows), BATCH):
        decoded += model.decode(windows[first : first + BATCH])
    n_texts = sum(bool(model.tokenizer.decode(window.tokens)) for window in decoded)
    n_certain = sum(window.no_speech_prob > 0.6 for window in decoded)
    print(
        f"{n_texts} of {len(windows)} windows without speech gave text; "
        f"no-speech probability above 0.6 in {n_certain}"
    )


def main() -> None:
    """Print the measures of one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--fsdd", type=Path, default=Path("../shared/fsdd"))
    parser.add_argument("--speakers", nargs="+", choices=SPEAKERS, default=list(SPEAKERS))
    parser.add_argument("--all-takes", action="store_true", help="also indices 5-49")
    parser.add_argument("--clips", type=int, default=200)
    args = parser.parse_args()
    model = Model(huggingface.load(args.checkpoint))
    indices = range(50) if args.all_takes else TEST_INDICES
    clips = make_clips(
        lambda name: read_samples(args.fsdd / f"{name}.wav"), args.speakers, indices, args.clips
    )
    for waveform_padding in (True, False):
        print(f"zeros after the audio in the {'waveform' if waveform_padding else 'spectrogram'}:")
        print_scores(list(score_clips(model, clips, waveform_padding)), args.speakers)
        print_quiet(model, waveform_padding)


if __name__ == "__main__":
    main()
