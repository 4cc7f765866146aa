"""What a person may ask for: every option of the library and of the commands, as checked values.

Imports nothing heavy. The command line is made from the fields (`cli/fields.py`), and `to_dict` and
`from_dict` carry them to other processes. Names, defaults and meanings are those of
openai-whisper's command line; `repetition_penalty`, `no_repeat_ngram_size`, `hotwords`,
`multilingual`, `language_detection_…` and `VadOptions` are faster-whisper's; `vad_skip` and
`vad_starts` are of neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import partial
from itertools import pairwise
from math import ceil, inf
from pathlib import Path
from typing import Literal, TypeAlias

from whisper_npu_cli.devices import AUTO, describe_devices, list_effective_options
from whisper_npu_cli.dims import CHUNK_S, FRAMES_PER_SECOND
from whisper_npu_cli.environment import check_threads, count_physical_cores
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.fields import About, Bounds, Options, about, option

LongForm: TypeAlias = Literal["sequential", "batched"]
BATCHED_FROM_S = 60.0  # `auto` takes batched for longer audio
DEFAULT_CHANNELS = "left,right"
MAX_BEAM_SIZE = 100  # each beam has caches of its own
MAX_TEMPERATURE = 1.0  # fallback raises the temperature up to here

# The groups of the command's help
_long_form = partial(option, group="Long form")
_words = partial(option, group="Words and subtitles")
_search = partial(option, group="Decoding")
_fallback = partial(option, group="Fallback and silence")
_prompt = partial(option, group="Prompt")
_engine = partial(option, group="Engine")


@dataclass(frozen=True)
class DecodingOptions(Options):
    """Everything that decides which tokens a window becomes."""

    beam_size: int | None = _search(
        5, "Beams at temperature 0; none: greedy, which is fastest", bounds=Bounds(1, MAX_BEAM_SIZE)
    )
    patience: float | None = _search(None, "Beams times this many texts must end (none: 1)")
    length_penalty: float | None = _search(
        None,
        "Exponent that favours long texts; none: mean over the tokens",
        bounds=Bounds(0, 1),
    )
    best_of: int | None = _search(5, "Samples at temperatures above 0", bounds=Bounds(1))
    seed: int = _search(
        0, "Seed of the samples: the same one gives the same text", bounds=Bounds(0)
    )
    suppress_tokens: str = _search(
        "-1", "Token ids never to write, with commas; -1: symbols that are not speech"
    )
    suppress_blank: bool = _search(True, "No blank at the beginning of a window")
    without_timestamps: bool = _search(False, "One segment for each 30 s")
    max_initial_timestamp: float | None = _search(
        1.0, "Latest begin of a window's first segment", unit="seconds", bounds=Bounds(0)
    )
    repetition_penalty: float = _search(
        1.0, "Above 1: words said before are less likely", bounds=Bounds(0, is_open=True)
    )
    no_repeat_ngram_size: int = _search(
        0, "Runs of so many tokens come once in a window (0: any)", bounds=Bounds(0)
    )
    temperature: float = _fallback(
        0.0, "Randomness of the first attempt", bounds=Bounds(0, MAX_TEMPERATURE)
    )
    temperature_increment_on_fallback: float | None = _fallback(
        0.2, "Added at each further attempt, up to 1; none: no fallback", bounds=Bounds(0.001)
    )
    compression_ratio_threshold: float | None = _fallback(
        2.4, "Text that compresses better is a loop: try again"
    )
    logprob_threshold: float | None = _fallback(-1.0, "Mean log-probability below this: try again")
    no_speech_threshold: float | None = _fallback(
        0.6, "Probability above this, with an unlikely text: a window of silence"
    )
    condition_on_previous_text: bool = _prompt(
        True, "Tell each window the text before it (sequential mode)"
    )
    initial_prompt: str | None = _prompt(
        None, "Text before the first window, in batched mode before every one: names, spelling"
    )
    carry_initial_prompt: bool = _prompt(
        False, "Put it before every window (sequential mode; batched always does)"
    )
    prefix: str | None = _prompt(
        None, "How the first window's text begins; it is not written itself"
    )
    hotwords: str | None = _prompt(None, "Words to expect, told to every window")

    def _refuse_contradictions(self) -> None:
        if self.patience is not None and self.beam_size is None:
            raise UsageError("patience needs a beam size")
        n_candidates = (self.beam_size or 1) * (1.0 if self.patience is None else self.patience)
        if not 0.5 < n_candidates < inf:  # rounded, as in openai-whisper
            raise UsageError("beam size times patience must be at least 1")

    @property
    def temperatures(self) -> tuple[float, ...]:
        """What is tried in turn until the text is good enough."""
        increment, first = self.temperature_increment_on_fallback, self.temperature
        if increment is None or first >= MAX_TEMPERATURE:
            return (first,)
        step = first + increment - first  # rounded as by numpy.arange, which openai-whisper uses
        n_steps = ceil((MAX_TEMPERATURE + 1e-6 - first) / increment)
        return tuple(first + i * step for i in range(n_steps))


@dataclass(frozen=True)
class InputOptions(Options):
    """How files are read."""

    track: str | None = option(
        None,
        "Audio track of a file that has several, by number or language; all: each of them "
        "(default: the one marked as default, or else the first with sound)",
        metavar="N|LANG|all",
    )
    follow: bool = option(False, "Wait until a file that grows has rested for 10 s")

    @property
    def chosen_track(self) -> int | str | None:
        """The number or the language of the track."""
        return int(self.track) if self.track is not None and self.track.isdecimal() else self.track


@dataclass(frozen=True)
class VadOptions(Options):
    """Where there is speech. The defaults are those that faster-whisper has in batched mode.

    Two differ: `speech_pad_ms` never reaches into other speech, and a window of
    `max_speech_duration_s` includes it.
    """

    threshold: float = _long_form(
        0.5, "Probability above which there is speech", bounds=Bounds(0, 1, is_open=True)
    )
    neg_threshold: float | None = _long_form(
        None, "Probability below which speech ends; none: threshold - 0.15"
    )
    min_speech_duration_ms: int = _long_form(
        0, "Speech shorter than this is ignored", unit="milliseconds", bounds=Bounds(0)
    )
    max_speech_duration_s: float = _long_form(
        float(CHUNK_S), "Longest window of batched mode", unit="seconds"
    )
    min_silence_duration_ms: int = _long_form(
        160, "Pauses shorter than this do not end speech", unit="milliseconds", bounds=Bounds(0)
    )
    speech_pad_ms: int = _long_form(
        400, "Silence kept around a window", unit="milliseconds", bounds=Bounds(0)
    )

    def _refuse_contradictions(self) -> None:
        if self.neg_threshold is not None and self.neg_threshold > self.threshold:
            raise UsageError("the VAD's negative threshold must not be above its threshold")
        shortest_s = (2 * self.speech_pad_ms + self.min_silence_duration_ms) / 1000 + 1
        if not shortest_s <= self.max_speech_duration_s <= CHUNK_S:
            raise UsageError(f"windows of speech must be from {shortest_s:g} to {CHUNK_S} s")

    @property
    def silence_threshold(self) -> float:
        """Probability below which speech may end."""
        if self.neg_threshold is not None:
            return self.neg_threshold
        return max(self.threshold - 0.15, 0.01)

    @property
    def pad_frames(self) -> int:
        """Padding in mel frames."""
        return self.speech_pad_ms * FRAMES_PER_SECOND // 1000

    @property
    def max_frames(self) -> int:
        """Longest window in mel frames."""
        return int(self.max_speech_duration_s * FRAMES_PER_SECOND)


@dataclass(frozen=True)
class WordOptions(Options):
    """What is asked of word timestamps."""

    prepend_punctuations: str = _words("\"'“¿([{-", "Punctuation that belongs to the word after it")
    append_punctuations: str = _words(
        "\"'.。,，!！?？:：”)]}、", "Punctuation that belongs to the word before it"
    )
    hallucination_silence_threshold: float | None = _words(
        None,
        "Drop odd text with longer silences than this around it, seconds; "
        "needs --word-timestamps; sequential mode only",
        bounds=Bounds(0),
    )


@dataclass(frozen=True)
class SubtitleLayout(Options):
    """How words become the lines of subtitles; None: no limit, or what the preset has."""

    subtitles: bool = _words(
        False,
        "Cues as Netflix and the BBC ask for, in srt, vtt and lrc: 2 lines of 42 columns (unless "
        "--max-line-width and --max-line-count say otherwise), 17 characters a second, 1 to 7 s, "
        "broken at sentences, clauses, then pauses; finds when each word is said",
    )
    highlight_words: bool = _words(
        False, "Underline each word as it is said, in srt and vtt; finds when that is"
    )
    max_line_width: int | None = _words(
        None, "Characters of a subtitle's line; finds when each word is said", bounds=Bounds(1)
    )
    max_line_count: int | None = _words(
        None, "Lines of a subtitle; needs --max-line-width", bounds=Bounds(1)
    )
    max_words_per_line: int | None = _words(
        None,
        "Words of a subtitle; excludes --max-line-width",
        bounds=Bounds(1),
    )

    def _refuse_contradictions(self) -> None:
        if self.subtitles and self.max_words_per_line is not None:
            raise UsageError("--max-words-per-line and --subtitles exclude each other")
        if self.max_line_count is not None and self.max_line_width is None and not self.subtitles:
            raise UsageError(
                "--max-line-count needs --max-line-width",
                hint="without a width all of a segment is one line",
            )
        if self.max_words_per_line is not None and self.max_line_width is not None:
            raise UsageError("--max-words-per-line and --max-line-width exclude each other")


@dataclass(frozen=True)
class TranscribeOptions(Options):
    """What to transcribe, and how to decode it."""

    language: str | None = option(
        None, "Code or name; detected where not given", flags=("--language", "-l")
    )
    multilingual: bool = option(False, "Detect the language of every window")
    language_detection_segments: int = option(
        4, "Windows of speech heard until the language is sure", bounds=Bounds(1)
    )
    language_detection_threshold: float = option(
        0.5,
        "Probability from which a language is sure; of unsure windows the mean decides",
        bounds=Bounds(0, 1),
    )
    task: Literal["transcribe", "translate"] = option(
        "transcribe", "Write the words as spoken, or in English"
    )
    clip_timestamps: tuple[float, ...] = option(
        (), "Only these parts: start,end,start,... in seconds"
    )
    long_form: Literal["auto", "sequential", "batched"] = _long_form(
        "auto",
        "sequential: as openai-whisper, each window told the text before it. "
        "batched: windows of speech, decoded together. auto: batched above 60 s",
    )
    batch_size: int = _long_form(8, "Windows decoded together in batched mode", bounds=Bounds(1))
    vad_skip: bool = _long_form(
        True, "Decode no window without speech, and go on at speech left out (sequential mode)"
    )
    vad_starts: bool = _long_form(
        True, "Move a segment that begins in a pause to the speech in it (without words)"
    )
    vad: VadOptions = field(default_factory=VadOptions, metadata={"about": About(prefix="vad_")})
    strict: bool = option(False, "Refuse a recording of which a part is missing or damaged")
    speakers: Literal["channels"] | None = option(
        None, "channels: transcribe each channel of a two-channel recording alone, and say whose"
    )
    channel_names: str | None = option(
        None, "Names of the two channels, with a comma (default: left,right); needs --speakers"
    )
    words: WordOptions | None = _words(
        None,
        "Find when each word is said, and fit segments to words",
        flags=("--word-timestamps",),
    )
    token_logprobs: bool = option(False, "Log-probability of each token (logprobs in the JSON)")
    decoding: DecodingOptions = field(default_factory=DecodingOptions)

    def _refuse_contradictions(self) -> None:
        if not all(a <= b < inf for a, b in pairwise([0.0, *self.clip_timestamps])):
            raise UsageError(
                "clip timestamps must not decrease, and be seconds from 0",
                hint='for example "0,30,60,90"',
            )
        if self.long_form == "batched" and self._drops_hallucinations:
            raise UsageError(
                "the hallucination silence threshold is for sequential long form",
                hint="batched mode hears no silence: leave it out, or add --long-form sequential",
            )
        if self.multilingual and self.language is not None:
            raise UsageError(
                f"the language is given as {self.language!r} and is to be detected in every window",
                hint="leave out --language or --multilingual",
            )
        self._refuse_what_has_no_effect()
        self._refuse_channel_names()

    def _refuse_what_has_no_effect(self) -> None:
        if self.language is not None:
            for name in ("language_detection_segments", "language_detection_threshold"):
                if getattr(self, name) != getattr(type(self), name):
                    flag = f"--{name.replace('_', '-')}"
                    raise UsageError(
                        f"{flag} has no effect where the language is given",
                        hint=f"leave out --language or {flag}",
                    )
        if self.long_form == "batched" and not self.vad_skip:
            raise UsageError(
                "--no-vad-skip has no effect with --long-form batched, which decodes speech alone",
                hint="leave it out, or add --long-form sequential",
            )

    def _refuse_channel_names(self) -> None:
        if self.channel_names is not None and self.speakers is None:
            raise UsageError("--channel-names needs --speakers", hint="add --speakers channels")
        names = self.list_channels()
        if len(set(names)) != 2 or not all(name.isprintable() and name for name in names):
            raise UsageError(
                f"the channel names must be two that differ, not {self.channel_names!r}",
                hint='for example "agent,customer"',
            )

    def list_channels(self) -> tuple[str, ...]:
        """Return the names of the channels, the left one first."""
        return tuple(name.strip() for name in (self.channel_names or DEFAULT_CHANNELS).split(","))

    def long_form_of(self, duration_s: float) -> LongForm:
        """Return how audio of this length is transcribed."""
        if self.long_form != "auto":
            return self.long_form
        is_long = duration_s > BATCHED_FROM_S
        return "batched" if is_long and not self._drops_hallucinations else "sequential"

    @property
    def _drops_hallucinations(self) -> bool:
        return self.words is not None and self.words.hallucination_silence_threshold is not None


@dataclass(frozen=True)
class EngineOptions(Options):
    """How to compute, not what: none of it may change the text beyond rounding."""

    device: str = _engine(AUTO, describe_devices(), metavar="DEVICE")
    precision: Literal["auto", "bf16", "f32", "int8"] = _engine(
        "auto", "Encoder arithmetic; auto: bf16, int8 or f32, the fastest that the CPU has"
    )
    cross_kv: Literal["int8", "f32"] = _engine("int8", "Decoder cross-attention cache")
    n_threads: int | None = _engine(
        None,
        "Threads (default: physical cores)",
        bounds=Bounds(1),
        flags=("--threads",),
    )
    mel: Literal["npu", "cpu"] = _engine("npu", "What computes the log-mel where the NPU encodes")
    xclbins: Path | None = _engine(None, "Folder of the NPU overlay")
    exact: bool = _engine(
        False, "With --device sim: run the overlay's own designs and kernels (checkout, g++)"
    )

    def _refuse_contradictions(self) -> None:
        if self.n_threads is not None:
            check_threads(self.n_threads)
        effective = list_effective_options(self.device)
        for named in fields(self):
            is_given = getattr(self, named.name) != named.default
            if is_given and named.name not in {"device", *effective}:
                raise UsageError(
                    f"{about(named).flag(named.name)} has no effect with --device {self.device}",
                    hint="leave it out, or choose another device",
                )

    def for_device(self, device: str) -> EngineOptions:
        """Return the options for one of the devices of `auto`: those with an effect on it."""
        kept = {name: getattr(self, name) for name in list_effective_options(device)}
        return EngineOptions(device, **kept)

    @property
    def thread_count(self) -> int:
        """Threads to use: what was asked for, or one for each physical core."""
        return self.n_threads or count_physical_cores()
