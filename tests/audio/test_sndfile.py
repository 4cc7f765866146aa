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


def test_sound_is_not_read_by_a_header_that_was_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1), RATE)
    with FileIO(tmp_path / "a.wav") as file:
        sound = open_sound(file)
        assert sound is not None
        sound.close()
        log = "fmt  : 16\nError : psf_fread returned short count.\n"
        monkeypatch.setattr(soundfile.SoundFile, "extra_info", log)
        assert open_sound(file) is None
