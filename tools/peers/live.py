"""Live transcription on real speech: words wrong, and how long a word waits to be settled.

    python -m tools.peers.live --model base --minutes 10

Both policies listen to the composed recording of `tests/support/real_speech.py` by a clock that
leaps over the waits, so that the computing alone takes time. Once more each, a window is encoded
in the time of the aim, and in what is predicted for the NPU: no measurements. A word's end is that
of `transcribe --word-timestamps` on the same audio. It writes `docs/live-measured.md`.
`--whisper-cpp CHECKOUT --peers PYTHON` lets whisper.cpp's stream hear it too, in real time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from itertools import compress, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.edits import count_edits
from tests.support.places import ROOT
from tests.support.real_models import fetch_real_models
from tests.support.real_speech import (
    ENGLISH,
    LONG_ORDER,
    compose_long,
    compose_sentences,
    split_words,
)
from tools.peers.listening import OPTIONS, WorkClock, encoding_takes, listen, match, measure_delays
from tools.peers.speed import REAL, Models, Setup, read_commit
from tools.peers.stream import STEP_S, stream_whisper_cpp
from whisper_npu_cli.audio.live import LeapingClock
from whisper_npu_cli.dims import SAMPLE_RATE, ModelDims
from whisper_npu_cli.engines.npu.plan import plan_encoder
from whisper_npu_cli.engines.npu.timing_model import CLOCK_MHZ
from whisper_npu_cli.environment import read_cpu_name
from whisper_npu_cli.longform.events import LiveOptions, PolicyName
from whisper_npu_cli.options import EngineOptions
from whisper_npu_cli.pipeline import Transcriber
from whisper_npu_cli.transcript import Word

PAGE = ROOT / "docs" / "live-measured.md"
POLICIES: tuple[PolicyName, ...] = ("streaming", "utterance")
AIM_S = 0.25  # to encode a window in
UNKNOWN = "fleurs_en_03.wav"
PACED_MODEL = "tiny.en"  # hours and memory are the same for all


def compare(
    transcriber: Transcriber,
    names: Sequence[str],
    live: LiveOptions,
    encode_seconds: Sequence[float | None],
) -> list[str]:
    """Return the rows of `transcribe` and of both policies on these clips."""
    samples = compose_long(names)
    said = transcribe(transcriber, samples)
    rows = [
        _join("transcribe", f"{count_wrong(names, said):.1%}", *[""] * (len(encode_seconds) + 2))
    ]
    for policy in POLICIES:
        runs = []
        for encode_s in encode_seconds:
            clock = WorkClock()
            with encoding_takes(transcriber, clock, encode_s):
                runs.append(listen(transcriber, samples, replace(live, policy=policy), clock))
        run = runs[0]
        unaware, _ = measure_delays(said, run)
        aware = [_describe(measure_delays(said, one)[1]) for one in runs]
        wrong = f"{count_wrong(names, run.words):.1%}"
        cells = wrong, _describe(unaware), *aware, str(run.n_windows)
        rows.append(_join(policy, *cells))
        print(rows[-1], flush=True)
    return rows


def compare_orders(transcriber: Transcriber, live: LiveOptions, n_orders: int) -> list[str]:
    """Return the rows of the words wrong where the clips follow each other in other orders."""
    rates: dict[str, list[tuple[float, float]]] = {}
    for seed in range(n_orders):
        names = shuffle_clips(seed)
        samples, times = compose_sentences(names, [1.0] * len(names))
        heard = {"transcribe": transcribe(transcriber, samples)}
        for policy in POLICIES:
            run = listen(transcriber, samples, replace(live, policy=policy), LeapingClock())
            heard[policy] = run.words
        for name, words in heard.items():
            known = [clip != UNKNOWN for clip in names]
            spans = [span for span, is_known in zip(times, known, strict=True) if not is_known]
            rest = [w for w in words if not any(a < (w.start + w.end) / 2 < b for a, b in spans)]
            wrong = count_wrong(names, words), count_wrong(list(compress(names, known)), rest)
            rates.setdefault(name, []).append(wrong)
    rows = []
    for name, pairs in rates.items():
        parts = zip(*pairs, strict=True)
        cells = [f"{np.mean(one):.1%} ({min(one):.1%} to {max(one):.1%})" for one in parts]
        rows.append(_join(name, *cells))
        print(rows[-1], flush=True)
    return rows


def shuffle_clips(seed: int) -> list[str]:
    """Return LONG_ORDER in another order, in which no sentence follows itself either."""
    rng, names = np.random.default_rng(seed), list(LONG_ORDER)
    rng.shuffle(names)
    while any(first == second for first, second in pairwise(names)):
        rng.shuffle(names)
    return names


def transcribe(transcriber: Transcriber, samples: NDArray[np.float32]) -> list[Word]:
    """Return the words of the samples."""
    return [word for one in transcriber.transcribe(samples, OPTIONS) for word in one.words or ()]


def count_wrong(names: Sequence[str], words: Sequence[Word]) -> float:
    """Return the word error rate of the clips."""
    return count_wrong_text(names, "".join(word.word for word in words))


def count_wrong_text(names: Sequence[str], text: str) -> float:
    """Return the same of a text."""
    truth = split_words(" ".join(ENGLISH[name] for name in names))
    return count_edits(truth, split_words(text)) / len(truth)


def run_stream(transcriber: Transcriber, checkout: Path, peers: str, n_threads: int) -> str:
    """Return what whisper.cpp's stream makes of the clips, with base's weights."""
    samples = compose_long()
    said = transcribe(transcriber, samples)
    with tempfile.TemporaryDirectory() as folder:
        models = Models(Setup(Path(folder), peers, checkout, n_threads, n_tokens=0))
        model = models.converted("whisper.cpp", REAL)
        printed = stream_whisper_cpp(checkout, model, samples, n_threads)
    heard = [(word, line) for line in printed.lines for word in split_words(line.text)]
    pairs = [(said[a].end, heard[b][1]) for a, b in match(said, [word for word, _ in heard])]
    # One that was said at another time is another word with the same text.
    delays = [line.clock_s - end for end, line in pairs if line.since_s < end < line.clock_s]
    text = " ".join(line.text for line in printed.lines)
    return STREAM_TEXT.format(
        commit=read_commit(checkout),
        n_threads=n_threads,
        step=STEP_S,
        rate=f"{count_wrong_text(LONG_ORDER, text):.1%}",
        delays=_describe(delays),
        n_steps=printed.n_steps,
        n_due=printed.n_due,
    )


def pace(transcriber: Transcriber, live: LiveOptions, minutes: float) -> list[str]:
    """Return the rows of both policies on the clips, over and over."""
    samples = np.resize(compose_long(), round(60 * minutes * SAMPLE_RATE))
    rows = []
    for policy in POLICIES:
        run = listen(transcriber, samples, replace(live, policy=policy), WorkClock())
        memory = [f"{mb:.0f}" for mb in (run.memory_mb[1], max(run.memory_mb), run.memory_mb[-1])]
        rows.append(_join(policy, str(len(run.words)), *memory, f"{run.last_lag_s:.2f}"))
        print(rows[-1], flush=True)
    return rows


def load(folder: Path) -> Transcriber:
    """Load a model for the CPU."""
    return Transcriber(str(folder), EngineOptions(device="cpu"), offline=True)


def predict_encoding_s(dims: ModelDims) -> float:
    """Return the predicted seconds of a window alone on the NPU, mel included."""
    return plan_encoder(dims).predict_window(CLOCK_MHZ).alone_ms / 1000


def write_page(arguments: argparse.Namespace) -> str:
    """Measure all of it; return the page."""
    live = LiveOptions(step=arguments.step, margin=arguments.margin)
    folders = fetch_real_models()
    with load(folders[arguments.model]) as transcriber:
        encode_seconds = [None, AIM_S, predict_encoding_s(transcriber.engines.encoder.dims)]
        tables = [
            compare(transcriber, names, live, encode_seconds)
            for names in (LONG_ORDER, [name for name in LONG_ORDER if name != UNKNOWN])
        ]
        orders = compare_orders(transcriber, live, arguments.orders)
        names = transcriber.engines.encoder.name, transcriber.engines.decoder.name
        stream = NO_STREAM
        if arguments.whisper_cpp is not None:
            stream = run_stream(
                transcriber, arguments.whisper_cpp, arguments.peers, arguments.threads
            )
    with load(folders[PACED_MODEL]) as transcriber:
        paced = pace(transcriber, live, arguments.minutes)
    heads = [
        *("", "words wrong", "no computing", "measured"),
        *(f"predicted: {encode_s:.2f} s a window" for encode_s in encode_seconds[1:]),
        "windows",
    ]
    table_heads = [_join(*heads), "|" + "---|" * len(heads)]
    paced_heads = [
        "policy",
        "words",
        "MB at 2 min",
        "most MB",
        "MB at the end",
        "s behind at the end",
    ]
    return PAGE_TEXT.format(
        date=f"{date.today():%-d %B %Y}",
        cpu=read_cpu_name(),
        remark=arguments.remark,
        model=arguments.model,
        engines=" and ".join(names),
        step=live.step,
        margin=live.margin,
        pause=live.pause,
        clock=CLOCK_MHZ / 1000,
        npu=encode_seconds[-1],
        paced_model=PACED_MODEL,
        unknown=ENGLISH[UNKNOWN],
        all="\n".join([*table_heads, *tables[0]]),
        known="\n".join([*table_heads, *tables[1]]),
        n_orders=arguments.orders,
        orders="\n".join([_join("", "words wrong", "without it"), "|" + "---|" * 3, *orders]),
        minutes=arguments.minutes,
        paced="\n".join([_join(*paced_heads), "|" + "---|" * len(paced_heads), *paced]),
        stream=stream,
    )


PAGE_TEXT = """# Live transcription, measured

Made by `make bench-live` on {date}; do not edit. {cpu}. {remark}

OpenAI's {model} on real speech, with the language given: the sentences of
`tests/support/real_speech.py`, one after another with pauses of 0.3 to 6 s. {engines}. Steps of
{step:g} s, a margin of {margin:g} s, pauses of {pause:g} s.

"words wrong" is the word error rate, without a normaliser of spellings. The other columns are
seconds from the end of a word to its settled text, at the median and for 95 of 100 words. A word's
end is that of `transcribe --word-timestamps`. "no computing" is what waiting for the rest of the
audio takes: a step, a margin, a pause. "measured" adds the computing of this machine; "predicted"
is no measurement: a window is encoded in that time by the clock, all else takes what it takes here.
{npu:.3f} s are what `whisper-npu overlays plan` predicts for the NPU at {clock:g} GHz, with mel.

{all}

The same without one sentence, of which {model} knows no name ("{unknown}"). Cut out
of the recording, alone or with the two sentences before it, it is not understood by `transcribe`
either; with the sentence after it in the window it sometimes is:

{known}

Where a sentence stands, and what is in the window with it, changes what is written. So here are
{n_orders} other orders of the sentences, with pauses of 0.5 to 3.5 s: words wrong, all and without
that sentence, on average (at best to at worst):

{orders}

The same sentences for {minutes:g} minutes, by {paced_model}:

{paced}

## Beside others

{stream} Published: SimulStreaming's and Simul-Whisper's AlignAtt, the policy
of `streaming`, has 1.46 points more words wrong than the whole recording at steps of 1 s
(Simul-Whisper). Whisper-Streaming's LocalAgreement-2, which decodes all of the audio so far at
each step and settles what two runs share, settles a word 3.3 s after it was said (arXiv
2307.14743). What differs: the others' AlignAtt ends the decoding at the first word that is not
settled; here the rest is decoded too, and shown. These are other models on other speech and
machines: no comparison of programs.
"""

NO_STREAM = "No other program was run here."
STREAM_TEXT = """\
whisper.cpp's `whisper-stream` ({commit}) heard the recording of the first table in real time, by
SDL's driver `disk`, with base in q8_0, {n_threads} threads and its defaults: steps of {step:g} s,
two of which make a line. {rate} of its words are wrong, its notes of sounds ("[BLANK_AUDIO]") left
out. A word waits {delays} s for the end of its line, after which it changes no more;
within a line each step prints it anew. Audio for which it has no time it drops: it took {n_steps}
of {n_due} steps."""


def _join(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _describe(delays: Sequence[float]) -> str:
    return " / ".join(f"{quantile:.2f}" for quantile in np.percentile(delays, [50, 95]))


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("tiny.en", "base"), default="base")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--orders", type=int, default=4, help="of the sentences")
    parser.add_argument("--step", type=float, default=LiveOptions.step)
    parser.add_argument("--margin", type=float, default=LiveOptions.margin)
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    parser.add_argument(
        "--whisper-cpp", type=Path, metavar="CHECKOUT", help="with build/bin/whisper-stream"
    )
    parser.add_argument("--threads", type=int, default=2, help="of whisper.cpp")
    parser.add_argument("--remark", default="", help="a sentence on the circumstances")
    PAGE.write_text(write_page(parser.parse_args()), encoding="utf-8")


if __name__ == "__main__":
    main()
