"""One loaded model, any audio, any number of threads: what goes in and what comes out."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.support.digits import compose_clips, compose_recording
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError, UsageError
from whisper_npu_cli.longform import sequential
from whisper_npu_cli.longform.segments import make_segments
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.options import DecodingOptions, EngineOptions, LongForm, TranscribeOptions
from whisper_npu_cli.pipeline import Transcriber
from whisper_npu_cli.transcript import Progress, Segment

GREEDY = DecodingOptions(beam_size=None)


class LiveSource:
    """Samples that arrive once, as those of a microphone."""

    name = "microphone"
    can_reread = False

    def __init__(self, samples: NDArray[np.float32]) -> None:
        self._blocks = iter(np.array_split(samples, 9))

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        yield from self._blocks

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def transcriber() -> Iterator[Transcriber]:
    with Transcriber("demo", EngineOptions(device="cpu")) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def samples() -> NDArray[np.float32]:
    return compose_clips(1)[0].samples


@pytest.fixture(scope="module")
def talk(samples: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "talk.wav"
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "file", "stream", "samples", "live"])
def test_whatever_holds_the_audio_gives_the_same_segments(
    transcriber: Transcriber, samples: NDArray[np.float32], talk: Path, kind: str
) -> None:
    audio: dict[str, Any] = {
        "path": talk,
        "text": str(talk),
        "bytes": talk.read_bytes(),
        "file": talk.open("rb"),
        "stream": io.BytesIO(talk.read_bytes()),
        "samples": samples,
        "live": LiveSource(samples),
    }
    expected = list(transcriber.transcribe(talk))
    assert expected
    with audio["file"]:
        assert list(transcriber.transcribe(audio[kind])) == expected


def test_what_is_no_audio_is_refused(transcriber: Transcriber, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="list is no audio"):
        transcriber.transcribe([0.0])  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="no such file"):
        list(transcriber.transcribe(tmp_path / "none.wav"))


def test_language_and_duration_are_known_before_the_first_segment(
    transcriber: Transcriber, talk: Path
) -> None:
    transcription = transcriber.transcribe(talk)
    info = transcription.begin()
    assert info == transcription.begin()
    assert (info.language, info.long_form) == ("en", "sequential")
    assert info.duration_s == pytest.approx(soundfile.info(talk).duration)
    assert transcription.result.transcript.segments == ()
    assert list(transcription)
    seeks = [window.seek for window in transcription.result.windows]
    assert len(seeks) == len(set(seeks))  # the window that told the language is not encoded again


def test_sparse_speech_in_one_window_is_encoded_once(
    transcriber: Transcriber, samples: NDArray[np.float32]
) -> None:
    """The window that is decoded tells the language too, though most of it is no speech."""
    silence = np.zeros(6 * SAMPLE_RATE, np.float32)
    transcription = transcriber.transcribe(np.concatenate([silence, samples, silence]))
    assert list(transcription)
    assert len(transcription.result.windows) == 1


def test_the_result_is_frozen_and_complete_after_one_iteration(
    transcriber: Transcriber, talk: Path
) -> None:
    transcription = transcriber.transcribe(talk)
    assert not transcription.result.is_complete
    segments = list(transcription)
    result = transcription.result
    assert result.is_complete
    assert result.transcript.segments == tuple(segments)
    assert result == transcription.result
    assert {row.stage for row in result.timings.rows} == {"audio", "vad", "mel", "encode", "decode"}
    with pytest.raises(FrozenInstanceError):
        result.is_complete = False  # type: ignore[misc]
    with pytest.raises(RuntimeError, match="iterated once"):
        iter(transcription)
    assert transcription.result.transcript.segments == tuple(segments)


def test_a_stopped_transcription_has_what_was_decided(
    transcriber: Transcriber, samples: NDArray[np.float32]
) -> None:
    options = TranscribeOptions(long_form="sequential", decoding=GREEDY)
    transcription = transcriber.transcribe(np.tile(samples, 8), options)
    segments = []
    for segment in transcription:
        segments.append(segment)
        transcription.stop()
    result = transcription.result
    assert not result.is_complete
    assert 0 < transcription.progress < 1
    assert result.transcript.segments == tuple(segments)


def test_a_transcription_that_is_stopped_hears_no_more_windows_for_the_language(
    transcriber: Transcriber, samples: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    unsure = TranscribeOptions(language_detection_threshold=1.0)
    transcription = transcriber.transcribe(np.tile(samples, 12), unsure)

    def encode(*args: Any) -> Any:
        transcription.stop()  # as another thread may
        return Stages.encode(transcription._stages, *args)

    monkeypatch.setattr(transcription._stages, "encode", encode)
    transcription.begin()
    assert len(transcription.result.windows) == 1


@pytest.mark.parametrize("long_form", ["sequential", "batched"])
def test_progress_counts_a_window_once_it_is_decided(
    transcriber: Transcriber, samples: NDArray[np.float32], long_form: LongForm
) -> None:
    options = TranscribeOptions(long_form=long_form, decoding=GREEDY, batch_size=2)
    transcription = transcriber.transcribe(np.tile(samples, 12), options)
    assert (transcription.progress, transcription.work_done) == (0, 0)
    transcription.begin()
    assert transcription.progress == 0 < transcription.work_done  # its language is heard
    seen = [(transcription.progress, transcription.work_done) for _ in transcription]
    assert all(0 < decided <= done <= 1 for decided, done in seen)
    assert seen == sorted(seen)
    assert (transcription.progress, transcription.work_done) == (1, 1)


def test_work_is_what_is_asked_for_and_not_done_yet(
    transcriber: Transcriber, samples: NDArray[np.float32]
) -> None:
    options = TranscribeOptions(
        long_form="sequential", decoding=GREEDY, clip_timestamps=(30, 60), language="en"
    )
    earlier = Progress(end_frame=4000, language="en")
    transcription = transcriber.transcribe(np.tile(samples, 12), options, earlier)
    transcription.begin()
    assert transcription.work_done == 0
    list(transcription)
    assert transcription.work_done == 1


@pytest.mark.parametrize("long_form", ["sequential", "batched"])
def test_silence_has_no_text(transcriber: Transcriber, long_form: LongForm) -> None:
    silence = np.zeros(SAMPLE_RATE, np.float32)
    transcription = transcriber.transcribe(silence, TranscribeOptions(long_form=long_form))
    assert list(transcription) == []
    assert transcription.result.is_complete
    assert transcription.result.windows == ()


@pytest.mark.parametrize("vad_skip", [True, False])
def test_silence_before_speech_is_not_decoded(
    transcriber: Transcriber, samples: NDArray[np.float32], vad_skip: bool
) -> None:
    audio = np.concatenate([np.zeros(40 * SAMPLE_RATE, np.float32), samples])
    options = TranscribeOptions(long_form="sequential", vad_skip=vad_skip, decoding=GREEDY)
    transcription = transcriber.transcribe(audio, options)
    assert list(transcription)
    seeks = [window.seek for window in transcription.result.windows]
    assert (min(seeks) >= 3900) is vad_skip
    assert len(seeks) == len(set(seeks))


@pytest.mark.parametrize("vad_starts", [True, False])
def test_a_segment_begins_with_the_speech_in_it(
    transcriber: Transcriber,
    samples: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    vad_starts: bool,
) -> None:
    def from_the_start(*args: Any) -> tuple[list[Segment], int]:
        segments, advance = make_segments(*args)
        return [replace(segments[0], start=0.0, end=9.0)], advance

    monkeypatch.setattr(sequential, "make_segments", from_the_start)
    audio = np.concatenate([np.zeros(5 * SAMPLE_RATE, np.float32), samples])
    options = TranscribeOptions(vad_starts=vad_starts, decoding=GREEDY)
    first = next(iter(transcriber.transcribe(audio, options)))
    assert (first.start >= 4.9) is vad_starts


def test_speech_with_too_little_text_is_reported(
    transcriber: Transcriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say_little(decoded: Any, tokenizer: Any, window: Any) -> tuple[list[Segment], int]:
        segments, _ = make_segments(decoded, tokenizer, window)
        one = replace(segments[0], end=window.end_s, tokens=segments[0].tokens[:2])
        return [one], window.n_frames

    monkeypatch.setattr(sequential, "make_segments", say_little)
    options = TranscribeOptions(vad_skip=False, decoding=GREEDY)
    transcription = transcriber.transcribe(compose_recording(25.0, 0.2), options)
    assert len(list(transcription)) == 1
    assert sum(end - start for start, end in transcription.result.uncovered) > 10


def test_log_probabilities_are_there_where_asked_for(transcriber: Transcriber, talk: Path) -> None:
    plain = list(transcriber.transcribe(talk))
    asked = list(transcriber.transcribe(talk, TranscribeOptions(token_logprobs=True)))
    assert all(segment.logprobs is None for segment in plain)
    assert [replace(segment, logprobs=None) for segment in asked] == plain
    assert all(len(s.logprobs or ()) == len(s.tokens) and max(s.logprobs or ()) <= 0 for s in asked)


def test_loading_is_no_stage_of_a_transcription(transcriber: Transcriber, talk: Path) -> None:
    assert transcriber.load_s > 0
    transcription = transcriber.transcribe(talk)
    list(transcription)
    assert "load" not in {row.stage for row in transcription.result.timings.rows}


def test_eight_threads_share_a_model_and_get_what_each_gets_alone(
    transcriber: Transcriber,
) -> None:
    recordings = [compose_recording(70.0 if seed % 2 else 20.0, 2.0, seed) for seed in range(4)] * 2
    options = [
        TranscribeOptions(decoding=DecodingOptions(beam_size=12 if i % 2 else 8))
        for i in range(len(recordings))
    ]

    def transcribe(i: int) -> list[Segment]:
        return list(transcriber.transcribe(recordings[i], options[i]))

    alone = [transcribe(i) for i in range(len(recordings))]
    assert all(alone)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # else a window is decoded before another thread has its chance
    try:
        with ThreadPoolExecutor(len(recordings)) as threads:
            together = list(threads.map(transcribe, range(len(recordings))))
    finally:
        sys.setswitchinterval(interval)
    assert together == alone


TWO_MODELS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from whisper_npu_cli import EngineOptions, Transcriber

engine = EngineOptions(device="cpu")
with Transcriber("demo", engine) as one, Transcriber("demo", engine) as other:
    def transcribe(i):
        return [s.text for s in (one, other)[i % 2].transcribe(sys.argv[1])]
    with ThreadPoolExecutor(4) as threads:
        print(len({str(text) for text in threads.map(transcribe, range(8))}))
"""


def test_two_models_take_turns_at_the_threads(talk: Path) -> None:
    """Two callers at once would overwrite what the threads are called for."""
    command = [sys.executable, "-c", TWO_MODELS, str(talk)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
