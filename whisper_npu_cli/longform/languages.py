"""Where the language of a window changes, told by its utterances alone.

Whisper writes a window in one language: what is said in another one is translated, or left out.
A window, its mel and the speech in it in, the frame of the change out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.engines.base import CrossKV
from whisper_npu_cli.longform.guide import Guide
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.spans import Span


def find_change(
    window: Window,
    mel: NDArray[np.float32],  # (n_mels, N_FRAMES), of the window
    encoded: CrossKV,
    stages: Stages,
    guide: Guide,
) -> int | None:
    """Return the frame at which another language begins in `window`, if one does.

    It is in the pause before the first utterance of that language. Utterances are encoded, one by
    one, only where two languages are likely.
    """
    utterances = guide.list_utterances(window)
    if len(utterances) < 2 or not stages.is_mixed(encoded):
        return None
    first: str | None = None
    for span in utterances:
        language = stages.tell_language(_cut(mel, window, span), span.start)
        first = first or language
        if language not in (first, None):
            return guide.find_pause(window.start, span.start)
    return None


def _cut(mel: NDArray[np.float32], window: Window, span: Span) -> NDArray[np.float32]:
    """Return the mel of a `span` of `window` (n_mels, N_FRAMES), then zeros."""
    part = np.zeros((mel.shape[0], N_FRAMES), np.float32)
    part[:, : span.end - span.start] = mel[:, span.start - window.start : span.end - window.start]
    return part
