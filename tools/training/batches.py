"""Batches that train the `demo` model: composed passages, and the tokens to decode from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tools.speech.composer import Composer, Passage
from tools.training.model import Features
from tools.training.spec import (
    EOT,
    LANGUAGE,
    NO_SPEECH,
    NO_TIMESTAMPS,
    PREVIOUS,
    SOT,
    TIME,
    TRANSCRIBE,
    WORD_IDS,
)
from whisper_npu_cli.dims import CHUNK_S, TOKENS_PER_SECOND

COUNTED = 48  # word ordinals that the frame classifier distinguishes
SKIP = -100  # label without loss
GRID = 5  # frames, 100 ms: timestamps 20 ms apart would be guesses of low log-probability
BLUR = 2  # frames added to word starts, else attention's blurred edge comes 40 ms early
LONGEST_PROMPT = 223  # tokens of earlier text that Whisper is given
PROMPTED = 0.8  # share of batches; a model that seldom reads long prompts skips words after them

Place = tuple[int, int, int]  # first frame, end, and end of a faint continuation
NOWHERE: Place = (0, 0, 0)


@dataclass
class Sequence:
    """The decoder's input, and what each position of it should predict and look at."""

    tokens: list[int]
    labels: list[int]  # the token that each position predicts
    heard: list[Place]  # place of the word that each position has read
    looks: list[Place]  # place of the word that each position should say

    def say(self, prompt: list[int], said: list[tuple[int, Place]]) -> None:
        """Append a prompt, which has no loss, and the tokens after it; the last is only a label."""
        self.tokens += [*prompt, *(token for token, _place in said[:-1])]
        self.labels += [SKIP] * (len(prompt) - 1) + [token for token, _place in said]
        self.heard += [NOWHERE] * len(prompt) + [place for _token, place in said[:-1]]
        self.looks += [NOWHERE] * (len(prompt) - 1) + [place for _token, place in said]


def group_words(words: list[tuple[int, float, float]]) -> list[list[tuple[int, float, float]]]:
    """Group words as they are transcribed: a new segment after 0.4 s of pause or four words."""
    groups: list[list[tuple[int, float, float]]] = []
    for word in words:
        if not groups or len(groups[-1]) == 4 or word[1] - groups[-1][-1][2] > 0.4:
            groups.append([])
        groups[-1].append(word)
    return groups


def to_frame(seconds: float) -> int:
    """Return the encoder frame of a time in seconds."""
    return round(seconds * TOKENS_PER_SECOND)


def floor_to_grid(place: int) -> int:
    """Return the last frame up to `place` that may have a timestamp."""
    return place // GRID * GRID


def look_near(place: int) -> Place:
    """Return the place to look at for a timestamp."""
    return place - 2, place + 3, 0


def write_transcript(passage: Passage, offset: int, timed: bool) -> list[tuple[int, Place]]:
    """Return the tokens after the prompt with their places, `offset` frames into the 30 s.

    As in Whisper, the first timestamp is at most 1.00, because decoding allows no later one, and a
    word cut off by the end yields only the timestamp of its start.
    """
    if not passage.words:
        return [(EOT, NOWHERE)]
    begins = [to_frame(start) + BLUR for _digit, start, _end in passage.words]
    ends = [to_frame(end) for _digit, _start, end in passage.words]
    # The pause after a word belongs to it, so that the next word starts where attention jumps.
    nexts = [*begins[1:], ends[-1]]
    said: list[tuple[int, Place]] = []
    words = 0
    earliest = 0  # timestamps never run backwards
    for group in group_words(passage.words):
        begin = to_frame(group[0][1])
        stamp = max(earliest, floor_to_grid(offset + begin))
        said += (
            [(TIME + (stamp if said else min(stamp, TOKENS_PER_SECOND)), look_near(begin))]
            if timed
            else []
        )
        for digit, _start, _end in group:
            said.append((WORD_IDS[digit], (begins[words], ends[words], nexts[words])))
            words += 1
        stop = ends[words - 1]
        earliest = max(stamp, round((offset + stop) / GRID) * GRID)
        said += [(TIME + earliest, look_near(stop))] if timed else []
    if timed and passage.cut_start is not None:
        begin = to_frame(passage.cut_start)
        said.append((TIME + max(earliest, floor_to_grid(offset + begin)), look_near(begin)))
    return [*said, (EOT, (ends[-1], ends[-1] + 15, 0))]


def draw_earlier_text(length: int, rng: np.random.Generator) -> list[int]:
    """Return the last `length` tokens of made-up earlier windows: segments with timestamps."""
    tokens: list[int] = []
    time = rng.uniform(0, 1)
    while len(tokens) < length:
        digits = rng.integers(10, size=rng.integers(1, 5))
        begin, time = time, time + len(digits) * rng.uniform(0.3, 1.0)
        stamps = [TIME + floor_to_grid(to_frame(t)) for t in (begin, time)]
        tokens += [stamps[0], *(WORD_IDS[digit] for digit in digits), stamps[1]]
        time += rng.uniform(0, 1.5)
        if time > CHUNK_S - 5:
            time = rng.uniform(0, 1)
    return tokens[-length:]


def make_sequence(
    passage: Passage, offset: int, prompted: bool, rng: np.random.Generator
) -> Sequence:
    """Draw what the decoder reads and should say, with or without timestamps and earlier text.

    If `prompted`, there is often much earlier text.
    """
    sequence = Sequence([], [], [], [])
    timed = rng.random() < (0.65 if prompted else 0.5)
    if rng.random() < ((0.8 if prompted else 0.2) if timed else 0.1):
        longest = LONGEST_PROMPT if prompted else 25
        length = longest if prompted and rng.random() < 0.5 else int(rng.integers(1, longest + 1))
        text = draw_earlier_text(length, rng)
        if not timed or rng.random() < 0.2:  # as an initial prompt
            text = [token for token in text if token < EOT]
        sequence.say([PREVIOUS, *text], [(SKIP, NOWHERE)])
    spoken = bool(passage.words) or passage.cut_start is not None
    sequence.say([SOT], [(LANGUAGE if spoken else NO_SPEECH, NOWHERE)])
    said = write_transcript(passage, offset, timed)
    if not timed:
        sequence.say([LANGUAGE, TRANSCRIBE, NO_TIMESTAMPS], said)
    elif passage.words:
        sequence.say([LANGUAGE, TRANSCRIBE], said)
    else:  # decoding insists on a timestamp: <|0.00|>, but any is followed by the end
        sequence.say([LANGUAGE, TRANSCRIBE], [(TIME, NOWHERE)])
        sequence.say([TIME + (int(rng.integers(51)) if rng.random() < 0.3 else 0)], said)
    return sequence


@dataclass
class Batch:
    """Windows as the model sees them, and all that it should find in them."""

    mel: Tensor  # (batch, 80, 2 T), T encoder frames
    offsets: Tensor  # (batch,), first frame within the 30 s
    tokens: Tensor  # (texts, tokens), with equally many texts for each window
    labels: Tensor  # (texts, tokens)
    looks: Tensor  # (layers, texts, tokens, T), target attention; rows sum to 1 or 0
    digits: Tensor  # (batch, T), 0 without a word, else 1 + digit
    ordinals: Tensor  # (batch, T), ordinal of the word, SKIP without a word
    earlier: Tensor  # (batch, T, 2), the two digits before, 10 for none, SKIP without a word


def make_batch(
    composer: Composer, features: Features, shape: tuple[int, float, int], n_texts: int
) -> Batch:
    """Compose windows of a `shape`: their number, their seconds, and the most words in one.

    Short windows lie anywhere in the 30 s that they stand for. Each has `n_texts` sequences.
    """
    size, seconds, most_words = shape
    rng = composer.rng
    frames = to_frame(seconds)
    prompted = rng.random() < PROMPTED
    if prompted:  # long texts slow down a whole batch
        n_texts = min(n_texts, 2)
    windows, lengths, sequences, offsets = [], [], [], []
    digits = np.zeros((size, frames), np.int64)
    ordinals = np.full((size, frames), SKIP)
    earlier = np.full((size, frames, 2), SKIP)
    for row in range(size):
        quiet = rng.random() < 0.2
        passage = (
            composer.draw_quiet_passage(seconds)
            if quiet
            else composer.draw_passage(seconds, most_words)
        )
        offset = 0 if rng.random() < 0.4 else int(rng.integers(to_frame(CHUNK_S) - frames + 1))
        before = (10, 10)
        for ordinal, (digit, start, end) in enumerate(passage.words):
            digits[row, to_frame(start) : to_frame(end)] = 1 + digit
            ordinals[row, to_frame(start) : to_frame(end)] = min(ordinal, COUNTED - 1)
            earlier[row, to_frame(start) : to_frame(end)] = before
            before = digit, before[0]
        windows.append(torch.from_numpy(passage.samples))
        lengths.append(passage.length)
        sequences += [make_sequence(passage, offset, prompted, rng) for _ in range(n_texts)]
        offsets.append(offset)
    length = max(len(s.tokens) for s in sequences)
    tokens = torch.full((len(sequences), length), EOT)
    labels = torch.full((len(sequences), length), SKIP)
    looks = torch.zeros(2, len(sequences), length, frames)
    for row, sequence in enumerate(sequences):
        tokens[row, : len(sequence.tokens)] = torch.tensor(sequence.tokens)
        labels[row, : len(sequence.labels)] = torch.tensor(sequence.labels)
        for layer, places in enumerate((sequence.heard, sequence.looks)):
            for look, (begin, until, after) in zip(looks[layer, row], places, strict=False):
                look[max(0, begin) : max(0, until)] = 1.0
                look[until : min(after, until + 50)] = 0.5
    looks /= looks.sum(-1, keepdim=True).clamp(min=1.0)
    mel = features.augment(torch.stack(windows), lengths, rng)
    frame_labels = (torch.from_numpy(a) for a in (digits, ordinals, earlier))
    return Batch(mel, torch.tensor(offsets), tokens, labels, looks, *frame_labels)
