"""Sequential long form of samples in memory, as openai-whisper's, without what the VAD adds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.sources import SamplesSource
from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.engines.loading import Engines
from whisper_npu_cli.longform.hearing import Ears, Recorded
from whisper_npu_cli.longform.sequential import transcribe_sequential
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.longform.windows import make_window
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.timings import Stopwatch
from whisper_npu_cli.transcript import Segment


def transcribe_samples(
    engines: Engines,
    tokenizer: Tokenizer,
    samples: NDArray[np.float32],  # (n,)
    options: TranscribeOptions,
) -> list[Segment]:
    """Return the segments, numbered within each window."""
    stopwatch = Stopwatch()
    stages = Stages(engines, tokenizer, options, stopwatch)
    audio = Recorded.hear(SamplesSource(samples), Ears(engines.mel, options.vad, stopwatch))
    clips = audio.find_clips(options.clip_timestamps)
    if stages.language is None:
        first = make_window(clips[0].start, clips[0])
        stages.detect_language([(audio.window(first.start, first.end), first.start)])
    windows = transcribe_sequential(audio, stages, clips)
    return [segment for decided in windows for segment in decided.segments]
