"""Train the `demo` checkpoint: a small Whisper that transcribes spoken English digits.

    python -m tools.training.train --out first
    python -m tools.training.train --out demo --init first.state.pt

The same with `--leave-out jackson` trains a model to measure on a speaker that it never heard. It
learns from all speakers in the folder `--fsdd`; the Free Spoken Digit Dataset has six.

Needs torch, numpy and safetensors, and the programs espeak-ng, flite and festival (with the voices
festvox-kdlpc16k and festvox-us-slt-hts). Seeds and step counts are fixed. The number of threads
still changes the order of floating-point sums, so that two runs agree closely, not bit for bit.

The model learns from three kinds of losses, which all use the known time of every word:
- The decoder's cross-entropy, as Whisper's, on text, timestamps, end and no-speech.
- Classifiers of the encoder's frames, dropped afterwards: the digit if any, the ordinal of the
  word, and the two digits before. With them the encoder learns far sooner than through the decoder
  alone, and the decoder finds its place among repeated digits.
- One cross-attention head of each decoder layer is trained where to look: the first layer's at the
  word just read, the last layer's at the word to be said. The latter is the alignment head.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.speech.composer import Composer
from tools.speech.voices import TEST_INDICES, load_recordings, synthesize_voices
from tools.training.batches import COUNTED, SKIP, Batch, make_batch
from tools.training.export import export
from tools.training.model import WIDTH, Features, Whisper
from whisper_npu_cli.dims import CHUNK_S


def compute_frame_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of scores (batch, T, ..., classes) with labels (batch, T, ...)."""
    labels = labels.flatten()
    kept = labels != SKIP
    return functional.cross_entropy(scores.flatten(0, -2)[kept], labels[kept], reduction="sum") / (
        kept.sum().clamp(min=1)
    )


class Trainer(nn.Module):
    """The model, with the classifiers that only training uses."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Whisper()
        self.digit_head, self.ordinal_head = nn.Linear(WIDTH, 11), nn.Linear(WIDTH, COUNTED)
        self.earlier_head = nn.Linear(WIDTH, 2 * 11)
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.steps = 0

    def compute_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted losses of one batch by name."""
        states = self.model.encoder(batch.mel, batch.offsets)
        hidden, looks = self.model.decoder(batch.tokens, states)
        kept = batch.labels != SKIP
        layers = zip(batch.looks, looks, strict=True)
        earlier = self.earlier_head(states).unflatten(2, (2, -1))
        return {
            "token": functional.cross_entropy(
                self.model.decoder.logits(hidden[kept]), batch.labels[kept]
            ),
            "look": sum(-(wanted * look).sum() / wanted.sum().clamp(1) for wanted, look in layers),
            "digit": compute_frame_loss(self.digit_head(states), batch.digits),
            "ordinal": 0.15 * compute_frame_loss(self.ordinal_head(states), batch.ordinals),
            "earlier": 0.2 * compute_frame_loss(earlier, batch.earlier),
        }

    def update_average(self) -> None:
        """Update the exponential average of the weights, which is exported."""
        self.steps += 1
        decay = min(0.997, (1 + self.steps) / (20 + self.steps))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)


@dataclass(frozen=True)
class Stage:
    """Rounds of steps, each with a number of windows, their seconds, and the most words in one."""

    rounds: tuple[tuple[int, tuple[tuple[int, float, int], ...]], ...]
    n_texts: int  # token sequences for each window
    rate: float  # highest learning rate

    def plan(self, scale: float) -> list[tuple[int, float, int]]:
        """Return the steps in order, with `scale` times as many rounds."""
        repeated = (steps * int(rounds * scale) for rounds, steps in self.rounds)
        return list(itertools.chain.from_iterable(repeated))


CURRICULUM = Stage(
    rounds=(
        (300, ((48, 1.5, 2),)),
        (400, ((32, 3.0, 5),)),
        (1200, ((16, 6.0, 10),)),
        (500, ((8, 12.0, 18),)),
        (100, ((4, CHUNK_S, 40),)),
    ),
    n_texts=1,
    rate=2.5e-3,
)
FULL = ((4, CHUNK_S, 12), (4, CHUNK_S, 40))
# The stage for --init. Most of the errors left are places lost among repeated digits, so that
# reading a window in several ways, prompted or not, teaches more than another window.
FINE_TUNING = Stage(
    rounds=((1200, ((16, 6.0, 10), FULL[0], (8, 12.0, 18), FULL[1])), (60, FULL)),
    n_texts=4,
    rate=2e-3,
)


def schedule_rate(step: int, steps: int, peak: float) -> float:
    """Return the learning rate: 100 steps of warm-up, then half a cosine down to a fiftieth."""
    return (
        peak * min(1.0, (step + 1) / 100) * max(0.02, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )


class Run:
    """A training run: the model, its data, and the file of its state."""

    def __init__(self, args: argparse.Namespace) -> None:
        humans = load_recordings(args.fsdd, range(len(TEST_INDICES), 50))
        if args.leave_out:
            del humans[args.leave_out]
        self.composer = Composer(humans, synthesize_voices(args.cache), args.seed)
        self.trainer, self.out = Trainer(), args.out
        self.optimizer = torch.optim.AdamW(
            [p for p in self.trainer.parameters() if p.requires_grad],
            betas=(0.9, 0.98),
            weight_decay=0.02,
        )
        self.saved = args.out.with_suffix(".state.pt")
        if args.init:
            state = torch.load(args.init, weights_only=False)
            self.trainer.load_state_dict(state["trainer"])
            self.trainer.model.load_state_dict(state["average"])
            self.trainer.average = state["average"]
        if args.resume:
            self.resume()

    def step(self, batch: Batch, rate: float) -> dict[str, float]:
        """Learn from one batch; return its losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self.trainer.compute_losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(self.trainer.parameters(), 1.0)
        self.optimizer.step()
        self.trainer.update_average()
        return {name: value.item() for name, value in losses.items()}

    def save(self) -> None:
        """Write the checkpoint, and beside it the state to go on from."""
        state = {
            "trainer": self.trainer.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.trainer.average,
            "steps": self.trainer.steps,
            "rng": self.composer.rng.bit_generator.state,
        }
        torch.save(state, self.saved)
        export({name: value.numpy() for name, value in self.trainer.average.items()}, self.out)

    def resume(self) -> None:
        """Go on from the state that was saved last."""
        state = torch.load(self.saved, weights_only=False)
        self.trainer.load_state_dict(state["trainer"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.trainer.average, self.trainer.steps = state["average"], state["steps"]
        self.composer.rng.bit_generator.state = state["rng"]


def train(args: argparse.Namespace) -> None:
    """Go through a stage; every 100 steps and at the end write checkpoint and state."""
    torch.manual_seed(args.seed)
    run, features = Run(args), Features()
    stage = FINE_TUNING if args.init else CURRICULUM
    plan = stage.plan(args.scale)
    begun, shown = time.monotonic(), Counter[str]()
    for number in range(run.trainer.steps, len(plan)):
        batch = make_batch(run.composer, features, plan[number], stage.n_texts)
        shown.update(run.step(batch, schedule_rate(number, len(plan), stage.rate)))
        done = number + 1
        if done % 50 == 0:
            line = " ".join(f"{name} {value / 50:.3f}" for name, value in shown.items())
            print(f"{done} of {len(plan)}: {line}, {time.monotonic() - begun:.0f} s", flush=True)
            shown.clear()
        if done % 100 == 0 or done == len(plan):
            run.save()


def main() -> None:
    """Train as the command line says and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fsdd", type=Path, default=Path("../shared/fsdd"), help="recordings")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--cache", type=Path, default=Path("tts-cache"), help="synthetic words")
    parser.add_argument("--leave-out", metavar="SPEAKER", help="train without this speaker")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on all step counts")
    parser.add_argument("--init", type=Path, help="fine-tune this OUT.state.pt of another run")
    parser.add_argument("--resume", action="store_true", help="continue from OUT.state.pt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
