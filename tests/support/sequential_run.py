"""Sequential long form of samples in memory, without what the pipeline adds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.mel import MelStream, scan
from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.engines.loading import Engines
from whisper_npu_cli.longform.segments import clip_frames
from whisper_npu_cli.longform.sequential import transcribe_sequential
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.timings import Timings
from whisper_npu_cli.transcript import Segment


def transcribe_samples(
    engines: Engines,
    tokenizer: Tokenizer,
    samples: NDArray[np.float32],  # (n,)
    options: TranscribeOptions,
) -> list[Segment]:
    """Return the segments, numbered in each window."""
    stats = scan([samples], engines.encoder.dims.n_mels)
    stages = Stages(engines, tokenizer, options, Timings())
    clips = clip_frames(options.clip_timestamps, stats.n_frames)
    windows = transcribe_sequential(MelStream([samples], stats), stages, clips)
    return [segment for decided in windows for segment in decided.segments]
