"""Trains the `demo` checkpoint: a small Whisper that transcribes spoken English digits.

    python scripts/train_demo.py --out first
    python scripts/train_demo.py --out second --init first.state.pt --rate 1e-3
    python scripts/train_demo.py --out demo --init second.state.pt --rate 1.5e-3 --decoder-only

and the same with `--leave-out jackson` to measure a speaker that was never heard.

Needs torch, numpy and safetensors, and the programs espeak-ng, flite and festival (with the voices
festvox-kdlpc16k and festvox-us-slt-hts). Seeds and step counts are fixed; the number of threads
still changes the order of floating-point sums, so that two runs agree closely, not bit for bit.

The model learns from three kinds of losses, which all use the known time of every word:
- the decoder's cross-entropy, as Whisper's, on text, timestamps, end and no-speech;
- classifiers of the encoder's frames, dropped afterwards: which digit or none, the how-manieth
  word, the two digits before. The encoder learns far sooner than through the decoder alone, and
  the decoder finds its place among repeated digits;
- one cross-attention head per decoder layer is told where to look: the first layer's at the word
  just read, the last layer's at the word to be said. The latter is the alignment head.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from demo_batches import COUNTED, SKIP, Batch, make_batch
from demo_data import (
    FULL_WINDOW,
    SPEAKERS,
    TEST_INDICES,
    Composer,
    load_recordings,
    synthesize_voices,
)
from demo_export import TIME, VOCABULARY, export
from demo_model import HEADS, WIDTH, Features, Whisper
from torch import Tensor, nn
from torch.nn import functional


def token_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy; a timestamp's target is spread over its neighbours 20 and 40 ms away."""
    scores, timed = logits.log_softmax(-1), (wanted >= TIME)[:, None]
    near = (wanted[:, None] + torch.arange(-2, 3)).clamp(TIME, VOCABULARY - 1)
    spread = torch.tensor([0.08, 0.22, 0.4, 0.22, 0.08])
    exact = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
    found = scores.gather(1, torch.where(timed, near, wanted[:, None]))
    return -(found * torch.where(timed, spread, exact)).sum(1).mean()


def frame_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of scores (batch, T, ..., classes) with labels (batch, T, ...)."""
    labels = labels.flatten()
    kept = labels != SKIP
    return functional.cross_entropy(scores.flatten(0, -2)[kept], labels[kept], reduction="sum") / (
        kept.sum().clamp(min=1)
    )


class Trainer(nn.Module):
    """The model with the heads that only training uses."""

    def __init__(self, *, decoder_only: bool) -> None:
        super().__init__()
        self.decoder_only = decoder_only
        self.model = Whisper()
        self.digit_head, self.ordinal_head = nn.Linear(WIDTH, 11), nn.Linear(WIDTH, COUNTED)
        self.earlier_head = nn.Linear(WIDTH, 2 * 11)
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.steps = 0

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted losses of one batch by name."""
        with torch.set_grad_enabled(not self.decoder_only):
            states = self.model.encoder(batch.mel, batch.offsets)
        heard = states.repeat_interleave(len(batch.tokens) // len(states), dim=0)
        hidden, looks = self.model.decoder(batch.tokens, heard)
        kept = batch.labels != SKIP
        layers = zip(batch.looks, looks, strict=True)
        losses = {
            "token": token_loss(self.model.decoder.logits(hidden[kept]), batch.labels[kept]),
            "look": 0.25
            * sum(-(wanted * look).sum() / wanted.sum().clamp(1) for wanted, look in layers),
        }
        if self.decoder_only:
            return losses
        earlier = self.earlier_head(states).unflatten(2, (2, -1))
        return losses | {
            "digit": frame_loss(self.digit_head(states), batch.digits),
            "ordinal": 0.15 * frame_loss(self.ordinal_head(states), batch.ordinals),
            "earlier": 0.2 * frame_loss(earlier, batch.earlier),
        }

    def update_average(self) -> None:
        """Exponential average of the weights, which is what is exported."""
        self.steps += 1
        decay = min(0.997, (1 + self.steps) / (20 + self.steps))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)


# Rounds, and of each the steps: windows, their seconds, most words in one.
CURRICULUM = (
    (300, ((48, 1.5, 2),)),
    (400, ((32, 3.0, 5),)),
    (1200, ((16, 6.0, 10),)),
    (500, ((8, 12.0, 18),)),
    (100, ((4, FULL_WINDOW, 40),)),
)
# The same for a model that has learned the digits already (--init).
FINE_TUNING = (
    (200, ((4, FULL_WINDOW, 12), (8, 12.0, 18), (4, FULL_WINDOW, 40), (16, 6.0, 10))),
    (75, ((4, FULL_WINDOW, 12), (4, FULL_WINDOW, 40))),
)
# The same for its decoder alone, which reads each window in several ways: most of the errors that
# are left are places lost among digits that repeat, and a step costs half as much.
TEXTS = 4
DECODER_TUNING = (
    (300, ((16, 6.0, 10), (8, 12.0, 18), (4, FULL_WINDOW, 12), (4, FULL_WINDOW, 40))),
)


def schedule(step: int, steps: int, peak: float) -> float:
    """Learning rate: 100 steps of warm-up, then half a cosine down to a fiftieth."""
    return (
        peak * min(1.0, (step + 1) / 100) * max(0.02, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )


def train(args: argparse.Namespace) -> None:
    """Go through the curriculum; every 100 steps and at the end write checkpoint and state."""
    torch.manual_seed(args.seed)
    kept = tuple(s for s in SPEAKERS if s != args.leave_out)
    humans = load_recordings(args.fsdd, kept, range(len(TEST_INDICES), 50))
    composer = Composer(humans, synthesize_voices(args.cache), args.seed)
    features, trainer = Features(), Trainer(decoder_only=args.decoder_only)
    optimizer = torch.optim.AdamW(
        [p for p in trainer.parameters() if p.requires_grad], betas=(0.9, 0.98), weight_decay=0.02
    )
    saved = args.out.with_suffix(".state.pt")
    if args.init:
        state = torch.load(args.init, weights_only=False)
        trainer.load_state_dict(state["trainer"], strict=False)
        trainer.model.load_state_dict(state["average"])
        trainer.average = state["average"]
    if args.resume:
        state = torch.load(saved, weights_only=False)
        trainer.load_state_dict(state["trainer"])
        optimizer.load_state_dict(state["optimizer"])
        trainer.average, trainer.steps = state["average"], state["steps"]
        composer.rng.bit_generator.state = state["rng"]
    curriculum = FINE_TUNING if args.init else CURRICULUM
    if args.decoder_only:
        curriculum = DECODER_TUNING
    n_texts = TEXTS if args.decoder_only else 1
    plan = [
        step
        for rounds, steps in curriculum
        for _ in range(int(rounds * args.scale))
        for step in steps
    ]
    begun, shown = time.monotonic(), dict[str, float]()
    while trainer.steps < len(plan):
        shape = plan[trainer.steps]
        for group in optimizer.param_groups:
            group["lr"] = schedule(trainer.steps, len(plan), args.rate)
        losses = trainer.losses(make_batch(composer, features, shape, n_texts))
        optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(trainer.parameters(), 1.0)
        optimizer.step()
        trainer.update_average()
        for name, value in losses.items():
            shown[name] = shown.get(name, 0.0) + value.item() / 50
        if trainer.steps % 50 == 0:
            line = " ".join(f"{name} {value:.3f}" for name, value in shown.items())
            print(
                f"{trainer.steps} of {len(plan)}, {shape[1]} s: {line}, "
                f"{time.monotonic() - begun:.0f} s",
                flush=True,
            )
            shown = {}
        if trainer.steps % 100 == 0 or trainer.steps == len(plan):
            torch.save(
                {
                    "trainer": trainer.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": trainer.average,
                    "steps": trainer.steps,
                    "rng": composer.rng.bit_generator.state,
                },
                saved,
            )
            export(trainer.average, HEADS, args.out)


def main() -> None:
    """Train as the command line says and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fsdd", type=Path, default=Path("../shared/fsdd"), help="recordings")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--cache", type=Path, default=Path("tts-cache"), help="synthetic words")
    parser.add_argument("--leave-out", choices=SPEAKERS, help="train without this speaker")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on all step counts")
    parser.add_argument("--rate", type=float, default=2.5e-3, help="peak learning rate")
    parser.add_argument(
        "--decoder-only", action="store_true", help="leave the encoder of --init as it is"
    )
    parser.add_argument("--init", type=Path, help="fine-tune this OUT.state.pt of another run")
    parser.add_argument("--resume", action="store_true", help="continue from OUT.state.pt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
