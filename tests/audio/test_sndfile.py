"""Sound as it is, by libsndfile: a disk that fails is not the end of the sound."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

import pytest
import soundfile

from tests.support.bad_audio import RATE, tone
from whisper_npu_cli.audio.sndfile import open_sound, read_sound


def test_a_disk_that_fails_is_not_the_end_of_the_sound(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", tone(20), RATE)
    with FileIO(tmp_path / "long.wav") as file:
        sound = open_sound(file)
        assert sound is not None
        pieces = read_sound(sound)
        next(pieces)
        folder = os.open(tmp_path, os.O_RDONLY)  # of which no read succeeds
        os.dup2(folder, file.fileno())
        os.close(folder)
        with pytest.raises(OSError, match="Input/output error"):
            list(pieces)
        sound.close()
