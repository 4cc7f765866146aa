from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import closing
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.bad_audio import BAD_INPUTS, BadInput, unprivileged
from tests.support.inputs import Pipe, read_samples
from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.audio.find import find_audio, pick_shard
from whisper_npu_cli.errors import AudioError


def test_directory_is_searched_recursively_in_order(tmp_path: Path) -> None:
    for name in ("b.WAV", "a/z.mp3", "a/y.txt", ".hidden.wav", ".git/x.wav", "c.flac"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = [source.path for source in find_audio([str(tmp_path), "named.txt", "-"])]
    expected = [str(tmp_path / name) for name in ("a/z.mp3", "b.WAV", "c.flac")]
    assert found == [*expected, "named.txt", "-"]


def test_directory_that_cannot_be_listed_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "open.wav").touch()
    (tmp_path / "locked").chmod(0)
    for parent in (tmp_path, *tmp_path.parents[:2]):  # pytest's own folders
        parent.chmod(0o755)
    with unprivileged():
        locked, _ = find_audio([str(tmp_path)])
        with pytest.raises(AudioError, match="locked: cannot be read: Permission denied"):
            next(locked.blocks())


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_bad_input_is_named_with_a_remedy(tmp_path: Path, bad: BadInput) -> None:
    path = bad.make(tmp_path / bad.name)
    with unprivileged(bad.unprivileged), pytest.raises(AudioError) as caught:
        (source,) = find_audio([str(path)])
        for _ in source.blocks():
            pass
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert bad.message in message
    assert "\n" not in message
    assert caught.value.hint is not None
    assert bad.hint in caught.value.hint


@pytest.fixture(params=["pipe", "file"])
def stdin(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[bytes], None]:
    """Give bytes to standard input, as `cat FILE |` and `< FILE` do."""

    def feed(data: bytes) -> None:
        buffer = Pipe(data) if request.param == "pipe" else io.BytesIO(data)
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=buffer))

    return feed


@pytest.mark.parametrize("name", ["jfk.wav", "jfk.mp3", "jfk_441khz.m4a"])
def test_standard_input_can_be_read_twice(
    shared_audio: Path, stdin: Callable[[bytes], None], name: str
) -> None:
    stdin((shared_audio / name).read_bytes())
    (source,) = find_audio(["-"])
    source.check()
    with closing(source):
        first, second = list(source.blocks()), list(source.blocks())
    np.testing.assert_array_equal(np.concatenate(first), read_samples(shared_audio / name))
    np.testing.assert_array_equal(np.concatenate(second), np.concatenate(first))
    assert not sys.stdin.buffer.closed


def test_empty_standard_input_is_named(stdin: Callable[[bytes], None]) -> None:
    stdin(b"")
    (source,) = find_audio(["-"])
    with pytest.raises(AudioError, match=r"^standard input: empty"):
        next(source.blocks())


def test_standard_input_that_the_shell_closed_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    (source,) = find_audio(["-"])
    with pytest.raises(AudioError, match=r"^standard input: empty"):
        next(source.blocks())


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=30), st.integers(1, 9))
def test_shards_together_have_each_input_once_wherever_it_stands(names: list[str], n: int) -> None:
    sources = [FileSource(name) for name in names]
    parts = [{s.path for s in pick_shard(sources, k, n)} for k in range(1, n + 1)]
    assert sorted(chain(*parts)) == sorted(names)
    again = [{s.path for s in pick_shard(sources[::-1][1:], k, n)} for k in range(1, n + 1)]
    assert all(fewer <= part for fewer, part in zip(again, parts, strict=True))
