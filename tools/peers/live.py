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
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from difflib import SequenceMatcher
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.edits import count_edits
from tests.support.places import ROOT
from tests.support.real_models import fetch_real_models
from tests.support.real_speech import ENGLISH, LONG_ORDER, compose_long, split_words
from tools.peers.speed import REAL, Models, Setup, read_commit
from tools.peers.stream import STEP_S, stream_whisper_cpp
from whisper_npu_cli.audio.live import PlayedSource
from whisper_npu_cli.audio.sources import SamplesSource
from whisper_npu_cli.dims import SAMPLE_RATE, ModelDims
from whisper_npu_cli.engines.npu.plan import plan_encoder
from whisper_npu_cli.engines.npu.timing_model import CLOCK_MHZ
from whisper_npu_cli.environment import read_cpu_name
from whisper_npu_cli.longform.events import LiveOptions, PolicyName, Settled
from whisper_npu_cli.options import EngineOptions, TranscribeOptions, WordOptions
from whisper_npu_cli.pipeline import Transcriber
from whisper_npu_cli.transcript import Word

PAGE = ROOT / "docs" / "live-measured.md"
POLICIES: tuple[PolicyName, ...] = ("streaming", "utterance")
OPTIONS = TranscribeOptions(language="en", words=WordOptions())
AIM_S = 0.25  # to encode a window in
UNKNOWN = "fleurs_en_03.wav"
PACED_MODEL = "tiny.en"  # hours and memory are the same for all
# A word that is matched further from where it was said is another one with the same text.
_NEAR_S = 1.0


class WorkClock:
    """A clock on which computing takes its time, and waits take none; `skip` takes time back."""

    def __init__(self) -> None:
        self._leapt_s = 0.0

    def now(self) -> float:
        """Return seconds."""
        return perf_counter() + self._leapt_s

    def sleep(self, seconds: float) -> None:
        """Leap ahead, or with a negative number back."""
        self._leapt_s += seconds


@dataclass(frozen=True)
class Spoken:
    """A word that was settled: when its audio was heard, and when it was told by the clock."""

    word: Word
    audio_s: float
    clock_s: float


@dataclass(frozen=True)
class Run:
    """What came of listening once."""

    spoken: Sequence[Spoken]
    last_lag_s: float
    memory_mb: Sequence[float]  # at each minute
    n_windows: int

    @property
    def words(self) -> list[str]:
        """The words, for comparison."""
        return split_words("".join(one.word.word for one in self.spoken))


@contextmanager
def encoding_takes(
    transcriber: Transcriber, clock: WorkClock, encode_s: float | None
) -> Iterator[None]:
    """Let a window be encoded in `encode_s` by the clock, however long it takes here."""
    if encode_s is None:
        yield
        return
    encoder: Any = transcriber.engines.encoder
    encode = encoder.encode

    def charged(mel: NDArray[np.float32]) -> Any:
        start = perf_counter()
        window = encode(mel)
        clock.sleep(encode_s - (perf_counter() - start))
        return window

    encoder.encode = charged
    try:
        yield
    finally:
        del encoder.encode


def listen(
    transcriber: Transcriber, samples: NDArray[np.float32], live: LiveOptions, clock: WorkClock
) -> Run:
    """Listen to all of the samples."""
    job = transcriber.listen(PlayedSource(SamplesSource(samples), clock), OPTIONS, live, clock)
    spoken, memory_mb, lag_s = list[Spoken](), list[float](), 0.0
    for event in job:
        if event.audio_s // 60 > len(memory_mb):
            memory_mb.append(_read_memory_mb())
        if isinstance(event, Settled):
            words = event.segment.words or ()
            spoken += [Spoken(word, event.audio_s, event.clock_s) for word in words]
        lag_s = event.lag_s
    rows = {row.stage: row.calls for row in job.stopwatch.read().rows}
    return Run(spoken, lag_s, memory_mb, rows.get("encode", 0))


def _read_memory_mb() -> float:
    """Return the memory that this process has resident now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_delays(said: Sequence[Word], run: Run) -> tuple[list[float], list[float]]:
    """Return for each word that both wrote the seconds from its end to its settled text.

    The first are of the audio, as if computing took no time, the second of the clock.
    """
    pairs = [
        (said[a], run.spoken[b])
        for a, b in match(said, [one.word.word for one in run.spoken])
        if abs(said[a].end - run.spoken[b].word.end) < _NEAR_S
    ]
    unaware = [one.audio_s - word.end for word, one in pairs]
    return unaware, [one.clock_s - word.end for word, one in pairs]


def match(said: Sequence[Word], heard: Sequence[str]) -> list[tuple[int, int]]:
    """Return which of the words that were said are which of those heard."""
    names, found = (
        [str(split_words(text)[:1]) for text in texts]
        for texts in ([word.word for word in said], heard)
    )
    blocks = SequenceMatcher(None, names, found, autojunk=False).get_matching_blocks()
    return [(a + i, b + i) for a, b, n in blocks for i in range(n)]


def compare(
    transcriber: Transcriber,
    names: Sequence[str],
    live: LiveOptions,
    encode_seconds: Sequence[float | None],
) -> list[str]:
    """Return the rows of `transcribe` and of both policies on these clips."""
    samples = compose_long(names)
    job = transcriber.transcribe(samples, OPTIONS)
    said = [word for segment in job for word in segment.words or ()]
    truth = split_words(" ".join(ENGLISH[name] for name in names))
    full = split_words("".join(word.word for word in said))
    rows = [_join("transcribe", _rate(truth, full), *[""] * (len(encode_seconds) + 2))]
    for policy in POLICIES:
        runs = []
        for encode_s in encode_seconds:
            clock = WorkClock()
            with encoding_takes(transcriber, clock, encode_s):
                runs.append(listen(transcriber, samples, replace(live, policy=policy), clock))
        run = runs[0]
        unaware, _ = measure_delays(said, run)
        aware = [_describe(measure_delays(said, one)[1]) for one in runs]
        cells = _rate(truth, run.words), _describe(unaware), *aware, str(run.n_windows)
        rows.append(_join(policy, *cells))
        print(rows[-1], flush=True)
    return rows


def run_stream(transcriber: Transcriber, checkout: Path, peers: str, n_threads: int) -> str:
    """Return what whisper.cpp's stream makes of the clips, with base's weights."""
    samples = compose_long()
    said = [word for one in transcriber.transcribe(samples, OPTIONS) for word in one.words or ()]
    with tempfile.TemporaryDirectory() as folder:
        models = Models(Setup(Path(folder), peers, checkout, n_threads, n_tokens=0))
        model = models.converted("whisper.cpp", REAL)
        printed = stream_whisper_cpp(checkout, model, samples, n_threads)
    heard = [(word, line.clock_s) for line in printed.lines for word in split_words(line.text)]
    pairs = match(said, [word for word, _ in heard])
    # A line that is finished before the word ends has another one with the same text.
    delays = [heard[b][1] - said[a].end for a, b in pairs if heard[b][1] > said[a].end]
    truth = split_words(" ".join(ENGLISH[name] for name in LONG_ORDER))
    return STREAM_TEXT.format(
        commit=read_commit(checkout),
        n_threads=n_threads,
        step=STEP_S,
        rate=_rate(truth, [word for word, _ in heard]),
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

The same without one sentence, of which {model} knows no name, so that it writes other words for it
wherever the audio is cut ("{unknown}"):

{known}

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


def _rate(truth: Sequence[str], words: Sequence[str]) -> str:
    return f"{count_edits(truth, words) / len(truth):.1%}"


def _describe(delays: Sequence[float]) -> str:
    return " / ".join(f"{quantile:.2f}" for quantile in np.percentile(delays, [50, 95]))


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("tiny.en", "base"), default="base")
    parser.add_argument("--minutes", type=float, default=10.0)
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
