"""What a demo checkpoint is judged by, on the bundled one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.digits import SPEAKERS, load_recordings
from tests.support.places import DEMO
from tools.speech.clips import Clip, make_clips
from tools.speech.voices import TEST_INDICES
from tools.training.evaluate import WORD_S, Model, make_quiet_clips, score_clip, score_clips
from whisper_npu_cli.checkpoints import huggingface


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(huggingface.load(DEMO))


@pytest.fixture(scope="module")
def clip() -> Clip:
    recordings, rate = load_recordings()
    return make_clips(lambda name: (recordings[name], rate), list(SPEAKERS), TEST_INDICES, 1)[0]


@pytest.mark.parametrize("waveform_padding", [True, False])
def test_words_and_their_times_are_found(model: Model, clip: Clip, waveform_padding: bool) -> None:
    (score,) = score_clips(model, [clip], waveform_padding)
    assert score.n_wrong == 0
    assert len(score.starts_off) == len(clip.digits) - 1
    assert np.median(score.starts_off) <= WORD_S  # nine in ten are, over 200 clips
    assert score.stamps_off[0] <= 0.1  # timestamps are multiples of it


def test_wrong_words_are_counted_and_give_no_times(model: Model, clip: Clip) -> None:
    window = model.encode(clip, waveform_padding=True)
    (decoded,) = model.decode([window])
    shorter = Clip(clip.samples, clip.length, clip.digits[:-2], clip.times[:-2])
    score = score_clip(model, shorter, window, decoded.tokens)
    assert (score.n_wrong, score.starts_off) == (2, ())


def test_no_speech_gives_no_text(model: Model) -> None:
    quiet = next(make_quiet_clips())
    (decoded,) = model.decode([model.encode(quiet, waveform_padding=False)])
    assert model.tokenizer.decode(decoded.tokens) == ""
    assert decoded.no_speech_prob > 0.6
