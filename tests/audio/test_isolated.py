from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.support.bad_audio import RATE, tone
from tests.support.inputs import read_samples
from tests.support.places import DATA
from whisper_npu_cli.audio import isolated
from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.audio.isolated import prepare, read_isolated
from whisper_npu_cli.audio.recording import Request
from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.transcript import Damage

SECONDS = 20  # several pieces, of which each is made while the one before is being used


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "long.wav"
    soundfile.write(path, tone(SECONDS), RATE)
    return path


@pytest.fixture(autouse=True)
def _own_processes() -> Iterator[None]:
    """Begin and end without a process that was kept."""
    isolated._close_all()
    yield
    isolated._close_all()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of modules which the process imports before it reads."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setattr(isolated, "_MAIN", f"import breaks; {isolated._MAIN}")
    monkeypatch.syspath_prepend(str(folder))
    return folder


def list_children() -> set[int]:
    """Return the processes that this one has started and not yet waited for."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def kill_reader(before: set[int], number: signal.Signals) -> None:
    (pid,) = list_children() - before
    os.kill(pid, number)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_crash_midway_costs_what_is_behind_it(wav: Path, number: signal.Signals) -> None:
    before = list_children()
    source = FileSource(wav)
    blocks = source.blocks()
    first = next(blocks)
    kill_reader(before, number)
    samples = np.concatenate([first, *blocks])
    assert 0 < samples.size < SECONDS * RATE
    now_s = samples.size / RATE
    reason = f"its decoder crashed ({number.name})"
    assert source.damage == (Damage(round(now_s, 3), None, True, reason),)
    assert source.damage[0].is_loss
    assert read_samples(wav).size == SECONDS * RATE  # by a new process


def test_crash_before_the_first_sample_is_an_error(wav: Path) -> None:
    before = list_children()
    prepare()
    kill_reader(before, signal.SIGSTOP)  # so that it answers nothing until it is killed
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_samples, wav)
        while not isolated._busy:
            pass
        kill_reader(before, signal.SIGSEGV)
        (pid,) = list_children() - before
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(AudioError, match=r"decoder crashed \(SIGSEGV\)") as caught:
            reading.result()
    assert "convert it" in str(caught.value.hint)
    assert read_samples(wav).size == SECONDS * RATE


def test_process_that_ended_while_it_was_idle_is_replaced(wav: Path) -> None:
    before = list_children()
    read_samples(wav)
    (pid,) = list_children() - before
    kill_reader(before, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until it has ended
    assert read_samples(wav).size == SECONDS * RATE


def test_process_is_kept_for_the_next_recording(wav: Path) -> None:
    before = list_children()
    read_samples(wav)
    first = list_children() - before
    read_samples(wav)
    assert list_children() - before == first


def test_reading_that_is_given_up_leaves_the_process_usable(wav: Path) -> None:
    before = list_children()
    pieces = read_isolated(Request(str(wav)))
    next(pieces)
    first = list_children() - before
    pieces.close()
    assert read_samples(wav).size == SECONDS * RATE
    assert list_children() - before == first


def test_what_is_left_in_a_pipe_that_failed_is_no_answer_to_the_next_recording(
    wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    before = list_children()
    soundfile.write(tmp_path / "short.wav", tone(1), RATE)
    blocks = FileSource(wav).blocks()
    next(blocks)
    first = list_children() - before
    with monkeypatch.context() as patched:
        patched.setattr(isolated._Process, "_ask", refuse)
        with pytest.raises(AudioError, match="cannot be read: Input/output error"):
            next(blocks)
    assert read_samples(tmp_path / "short.wav").size == RATE
    assert list_children() - before != first


def test_refused_recording_leaves_the_process_usable(wav: Path, tmp_path: Path) -> None:
    before = list_children()
    (tmp_path / "text.wav").write_text("not audio " * 99)
    with pytest.raises(AudioError, match="not audio"):
        read_samples(tmp_path / "text.wav")
    first = list_children() - before
    assert read_samples(wav).size == SECONDS * RATE
    assert list_children() - before == first


def test_bug_of_the_process_is_told_with_its_traceback(wav: Path, broken: Path) -> None:
    (broken / "breaks.py").write_text(
        "from whisper_npu_cli.audio import child\n"
        "def read_mono(file, request):\n    raise KeyError('a bug of ours')\n"
        "child.read_mono = read_mono\n"
    )
    with pytest.raises(RuntimeError, match="KeyError: 'a bug of ours'") as caught:
        read_samples(wav)
    assert "Traceback" in str(caught.value)


def test_process_that_cannot_begin_is_an_error_in_a_line(wav: Path, broken: Path) -> None:
    (broken / "breaks.py").write_text("raise SystemExit(7)")
    with pytest.raises(AudioError, match="ended with status 7") as caught:
        read_samples(wav)
    cause = caught.value.__cause__
    assert cause is not None
    assert isinstance(cause.__cause__, OSError)  # which is no fault of the recording


def test_what_a_decoder_prints_is_no_answer(wav: Path, broken: Path) -> None:
    (broken / "breaks.py").write_text(
        "import os\n"
        "from whisper_npu_cli.audio import child\n"
        "original = child.read_mono\n"
        "def read_mono(*arguments):\n"
        "    for piece in original(*arguments):\n"
        "        os.write(1, b'a library prints\\n')\n"
        "        yield piece\n"
        "child.read_mono = read_mono\n"
    )
    assert read_samples(wav).size == SECONDS * RATE


def test_decoder_that_finds_no_end_costs_one_file(wav: Path, broken: Path) -> None:
    (broken / "breaks.py").write_text(
        "from whisper_npu_cli.audio import child\n"
        "original = child.read_mono\n"
        "def read_mono(*arguments):\n"
        "    yield next(original(*arguments))\n"
        "    while True:\n        pass\n"
        "child.read_mono, child.PATIENCE_S = read_mono, 0.2\n"
    )
    source = FileSource(wav)
    samples = np.concatenate(list(source.blocks()))
    assert 0 < samples.size < SECONDS * RATE
    assert [damage.reason for damage in source.damage] == ["its decoder finds no end"]
    assert source.damage[0].is_loss


def test_file_that_lies_of_its_size_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10 kB, found by `make torture`: FFmpeg took 850 MB for what was not there."""
    monkeypatch.setattr(isolated, "_idle", [])
    with pytest.raises(AudioError):
        read_samples(DATA / "lies_of_850_MB.mp4")
    (process,) = isolated._idle
    status = Path(f"/proc/{process._process.pid}/status").read_text()
    process.close()
    peak_kb = int(status.partition("VmHWM:")[2].split()[0])
    assert peak_kb < 300_000  # 60 MB and what libraries take


def test_many_threads_read_at_once(wav: Path) -> None:
    expected = read_samples(wav)
    with ThreadPoolExecutor(8) as pool:
        for samples in pool.map(read_samples, [wav] * 16):
            np.testing.assert_array_equal(samples, expected)


def test_recordings_are_read_in_turns(wav: Path) -> None:
    readings = [read_isolated(Request(str(wav))) for _ in range(3)]
    pieces: list[list[Any]] = [[] for _ in readings]
    for turn in zip(*readings, strict=True):
        for heard, piece in zip(pieces, turn, strict=True):
            heard.append(piece)
    for heard in pieces[1:]:
        np.testing.assert_array_equal(np.concatenate(heard), np.concatenate(pieces[0]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_reads_with_a_process_of_its_own(wav: Path) -> None:
    expected = read_samples(wav)  # leaves an idle process
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = int(not np.array_equal(read_samples(wav), expected))
        finally:
            os._exit(status)
    np.testing.assert_array_equal(read_samples(wav), expected)  # at the same time
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
