"""`whisper-npu transcribe` from its arguments to its exit status, stdout and stderr."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.cli.conftest import Cli
from tests.support.bad_audio import BAD_INPUTS, BadInput, unprivileged
from tests.support.bad_checkpoints import BAD_CHECKPOINTS, BadCheckpoint
from tests.support.digits import WORDS, digits_of
from tests.support.places import SAMPLES
from whisper_npu_cli.writers import make_writers


@pytest.fixture
def sample() -> Path:
    """A human recording of a few digits; its name says which."""
    return min(SAMPLES.glob("*.wav"))


def digits_in(text: str) -> str:
    """Return the words of digits among times and other marks."""
    return " ".join(re.findall(rf"\b(?:{'|'.join(WORDS)})\b", text))


def test_segments_go_to_stdout_and_timings_to_stderr(cli: Cli, sample: Path) -> None:
    result = cli("transcribe", sample, "--model", "demo")
    assert result.status == 0
    assert all(line.startswith("[00:0") for line in result.stdout.splitlines())
    assert digits_in(result.stdout) == digits_of(sample)
    for stage in ("load", "audio", "mel", "encode", "decode", "write", "total", "rtf", "speed"):
        assert stage in result.stderr
        assert stage not in result.stdout


def test_every_sample_is_transcribed(cli: Cli) -> None:
    samples = sorted(SAMPLES.glob("*.wav"))
    result = cli("transcribe", *samples, "--model", "demo", "--json")
    assert result.status == 0
    texts = {Path(row["path"]).name: row["text"].strip() for row in result.document["results"]}
    assert texts == {path.name: digits_of(path) for path in samples}


def test_json_document(cli: Cli, sample: Path) -> None:
    document = cli("transcribe", sample, "--model", "demo", "--json").document
    assert document["schema_version"] == 2
    assert document["load_s"] > 0
    assert document["model"] == "demo"
    assert document["versions"].keys() >= {"whisper-npu", "python", "openvino", "numba"}
    assert document["device"]["name"] == "cpu"
    (result,) = document["results"]
    assert result["path"] == str(sample)
    assert result["duration_s"] == pytest.approx(soundfile.info(sample).duration)
    assert result["language"] == "en"
    assert result["text"] == "".join(segment["text"] for segment in result["segments"])
    assert 0 <= result["segments"][0]["start"] < result["segments"][-1]["end"]
    rows = {row["stage"]: row for row in result["timings"]}
    assert rows.keys() >= {"audio", "mel", "encode", "decode", "write"}
    assert rows["encode"]["calls"] == 1
    assert rows["encode"]["engine"].startswith("openvino")
    assert rows["decode"]["engine"].startswith("numba")
    assert rows["decode"]["tokens"] > 0
    assert rows["encode"]["rtf"] == pytest.approx(rows["encode"]["seconds"] / result["duration_s"])
    assert rows["encode"]["speed"] == pytest.approx(1 / rows["encode"]["rtf"])


def test_loading_is_told_apart_from_the_stages(cli: Cli, sample: Path) -> None:
    result = cli("transcribe", sample, "--model", "demo")
    assert re.search(r"^loaded demo in \d+\.\d\d s$", result.stderr, re.MULTILINE)
    assert not re.search(r"^ load ", result.stderr, re.MULTILINE)


def test_engines_agree(cli: Cli, sample: Path) -> None:
    results = [
        cli("transcribe", sample, "--model", "demo", "--json", "--device", device, *extra).document
        for device, *extra in (("reference",), ("cpu",), ("cpu", "--cross-kv", "f32"))
    ]
    assert {document["results"][0]["text"].strip() for document in results} == {digits_of(sample)}


def test_silence_and_noise_give_no_text(cli: Cli, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(40 * 16_000) * 0.05
    soundfile.write(tmp_path / "silence.wav", np.zeros(45 * 16_000), 16_000)
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    document = cli("transcribe", tmp_path, "--model", "demo", "--json").document
    assert [result["text"] for result in document["results"]] == ["", ""]


def test_standard_input(cli: Cli, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sample.read_bytes())))
    (result,) = cli("transcribe", "-", "--model", "demo", "--json").document["results"]
    assert (result["path"], result["text"].strip()) == ("-", digits_of(sample))


def test_files_of_standard_input_have_the_name_that_is_given(
    cli: Cli, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sample.read_bytes())))
    options = ("-m", "demo", "-f", "txt", "-o", tmp_path)
    assert cli("transcribe", "-", *options, "--stdin-name", "call").status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["call.txt"]
    assert digits_in((tmp_path / "call.txt").read_text()) == digits_of(sample)


def test_several_inputs_are_headed(cli: Cli) -> None:
    inputs = sorted(SAMPLES.glob("*.wav"))[:2]
    result = cli("transcribe", *inputs, "--model", "demo")
    assert result.stdout.splitlines()[0] == f"==> {inputs[0]} <=="
    assert result.stdout.count("==>") == 2


def test_an_input_that_fails_has_no_title(cli: Cli, sample: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    (tmp_path / "empty.wav").touch()
    result = cli("transcribe", tmp_path, sample, "--model", "demo")
    lines = result.stdout.splitlines()
    assert lines[:2] == [f"==> {tmp_path}/silence.wav <==", f"==> {sample} <=="]
    assert all(line.startswith("[") for line in lines[2:])
    assert digits_in("".join(lines[2:])) == digits_of(sample)


@pytest.mark.parametrize("suffix", make_writers())
def test_output_format_writes_one_file(cli: Cli, sample: Path, tmp_path: Path, suffix: str) -> None:
    result = cli("transcribe", sample, "-m", "demo", "-f", suffix, "-o", tmp_path)
    assert result.status == 0
    (written,) = tmp_path.iterdir()
    assert written.name == f"{sample.stem}.{suffix}"
    assert digits_of(sample) in digits_in(written.read_text())  # json has words twice


def test_options_can_be_spelled_as_openai_whisper_does(
    cli: Cli, sample: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "with_underscore"
    result = cli(
        "transcribe", sample, "-m", "demo", "--output_format", "srt", f"--output_dir={folder}"
    )
    assert result.status == 0
    assert [path.name for path in folder.iterdir()] == [f"{sample.stem}.srt"]


def test_all_formats_replace_what_is_there(cli: Cli, sample: Path, tmp_path: Path) -> None:
    (tmp_path / f"{sample.stem}.txt").write_text("old")
    cli("transcribe", sample, "-m", "demo", "-f", "all", "-o", tmp_path)
    assert {path.suffix[1:] for path in tmp_path.iterdir()} == set(make_writers())
    assert digits_in((tmp_path / f"{sample.stem}.txt").read_text()) == digits_of(sample)


def test_inputs_of_one_name_are_written_side_by_side(
    cli: Cli, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = ("one/talk.wav", "two/talk.wav", "two/talk.flac", "two/other.wav")
    for name in inputs:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(sample.read_bytes())
    monkeypatch.chdir(tmp_path / "in" / "two")
    arguments = ("transcribe", "..", "talk.flac", "-m", "demo", "-f", "srt", "-o", tmp_path / "out")
    assert cli(*arguments).status == 0
    written = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert [str(path.relative_to(tmp_path / "out")) for path in written] == [
        *("one/talk.srt", "two/other.srt", "two/talk.flac.srt", "two/talk.wav.srt")
    ]
    results = cli(*arguments, "--resume", "--json").document["results"]
    assert [result.get("skipped") for result in results] == [True] * len(inputs)


def test_an_input_that_is_named_twice_is_transcribed_once(
    cli: Cli, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sample.parent)
    result = cli("transcribe", sample.name, f"./{sample.name}", sample, "--model", "demo")
    assert (result.status, digits_in(result.stdout)) == (0, digits_of(sample))


def test_too_many_threads_are_refused_before_anything_is_loaded(cli: Cli, sample: Path) -> None:
    result = cli("transcribe", sample, "--model", "none-such", "--threads", 10_000)
    assert result.status == 2
    assert "--threads 10000: this process may use" in result.stderr
    assert "hint: leave it out" in result.stderr


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_bad_input_is_reported_and_the_others_go_on(
    cli: Cli, sample: Path, tmp_path: Path, bad: BadInput
) -> None:
    path = bad.make(tmp_path / bad.name)
    tmp_path.chmod(0o755)
    if bad.unprivileged:
        # This run stores the compiled code, which the user "nobody" could not do.
        cli("transcribe", sample, "--model", "demo")
    with unprivileged(bad.unprivileged):
        result = cli("transcribe", path, sample, "--model", "demo", "--json")
    assert result.status == 1
    failed, transcribed = result.document["results"]
    assert failed["path"] == str(path)
    assert bad.message in failed["error"]
    assert transcribed["text"].strip() == digits_of(sample)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert str(path) in errors[0]
    assert bad.message in errors[0]
    assert any(line.startswith("hint: ") and bad.hint in line for line in result.stderr.split("\n"))
    assert result.stderr.rstrip().endswith(f"failed: 1 of 2 inputs:\n  {path}")


def test_inputs_that_are_not_there_need_no_model(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    arguments = ("transcribe", tmp_path / "missing.wav", tmp_path, "-m", "no/such", "--offline")
    result = cli(*arguments, "-o", tmp_path / "out")
    assert (result.status, result.stdout) == (1, "")
    assert "missing.wav: no such file" in result.stderr
    assert "empty.wav: empty (0 bytes)" in result.stderr
    assert "failed: 2 of 2 inputs" in result.stderr
    assert "model" not in result.stderr
    assert not (tmp_path / "out").exists()
    document = cli(*arguments, "--json").document
    assert document["device"] is None
    assert len(document["results"]) == 2


def test_an_empty_path_is_named(cli: Cli) -> None:
    result = cli("transcribe", "", "--model", "demo")
    assert (result.status, result.stdout) == (1, "")
    assert result.stderr.startswith('error: "": the path is empty\nhint: ')


def test_unwritable_output_is_reported_and_the_others_go_on(
    cli: Cli, sample: Path, tmp_path: Path
) -> None:
    (tmp_path / f"{sample.stem}.txt").mkdir()  # a folder cannot be replaced by a file
    other = tmp_path / "other-1.wav"
    other.write_bytes(sample.read_bytes())
    result = cli("transcribe", sample, other, "-m", "demo", "-f", "txt", "-o", tmp_path, "--json")
    assert result.status == 1
    assert f"{sample.stem}.txt: cannot be written" in result.stderr
    assert digits_in((tmp_path / "other-1.txt").read_text()) == digits_of(sample)
    failed, written = result.document["results"]
    assert f"{sample.stem}.txt: cannot be written" in failed["error"]
    assert failed["text"] == written["text"]
    assert "error" not in written


def test_unwritable_folder_is_found_before_anything_is_loaded(
    cli: Cli, sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for folder, reason in (
        (tmp_path / "file", "is a file, not a folder"),
        (Path("/proc/folder"), "cannot be written: "),
    ):
        result = cli("transcribe", sample, "--model", "no/such", "--offline", "-o", folder)
        assert (result.status, result.stdout) == (1, "")
        assert result.stderr.startswith(f"error: {folder}: {reason}")
        assert "--output-dir" in result.stderr


@pytest.mark.parametrize("bad", BAD_CHECKPOINTS, ids=lambda bad: bad.id)
def test_bad_checkpoint(cli: Cli, sample: Path, tmp_path: Path, bad: BadCheckpoint) -> None:
    directory = bad.build(tmp_path / "model")
    result = cli("transcribe", sample, "--model", directory)
    assert (result.status, result.stdout) == (1, "")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert str(directory) in line
    assert bad.phrase in line


def test_absent_model_offline(
    cli: Cli, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    result = cli("transcribe", sample, "--model", "small", "--offline")
    assert (result.status, result.stdout) == (1, "")
    assert "model small is not in the cache" in result.stderr
    assert str(tmp_path) in result.stderr
    assert "models list" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (("--language", "klingon"), "unknown language 'klingon'"),
        (("--language", "german"), "the model has no language 'de'"),
        (("--device", "abacus"), "abacus"),
        (("--threads", "1000"), "--threads 1000: this process may use"),
        (("--output-format", "doc"), "doc"),
    ],
)
def test_usage_errors(cli: Cli, sample: Path, arguments: tuple[str, ...], phrase: str) -> None:
    result = cli("transcribe", sample, "--model", "demo", *arguments)
    assert (result.status, result.stdout) == (2, "")
    assert phrase in result.stderr


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (("--task", "translate"), "cannot transcribe other languages or translate"),
        (("--language", "de"), "cannot transcribe other languages or translate"),
        (("--multilingual",), "an English-only model cannot detect languages"),
    ],
)
def test_an_english_only_model_does_nothing_else(
    cli: Cli, sample: Path, arguments: tuple[str, ...], phrase: str
) -> None:
    result = cli("transcribe", sample, "--model", "random:tiny.en", *arguments)
    assert (result.status, result.stdout) == (2, "")
    assert phrase in result.stderr


def test_devices_of_openvino_by_name(cli: Cli, sample: Path) -> None:
    arguments = ("transcribe", sample, "--model", "demo")
    expected = cli(*arguments, "--device", "cpu")
    result = cli(*arguments, "--device", "openvino:CPU")
    assert (result.status, result.stdout) == (0, expected.stdout)
    result = cli(*arguments, "--device", "openvino:TPU")
    assert (result.status, result.stdout) == (3, "")
    assert result.stderr.startswith("error: OpenVINO has no device 'TPU' here\nhint: available: ")
    assert "CPU" in result.stderr


def test_reader_that_goes_away_is_no_error(
    cli: Cli, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_pipe(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(json, "dumps", broken_pipe)
    result = cli("transcribe", sample, "--model", "demo", "--json")
    assert result.status == 1
    assert "Traceback" not in result.stderr


def test_words_alone_are_printed(cli: Cli, sample: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.wav"
    other.write_bytes(sample.read_bytes())
    result = cli("transcribe", sample, other, "-m", "demo", "--text")
    assert result.status == 0
    assert " ".join(result.stdout.split()) == f"{digits_of(sample)} {digits_of(sample)}"
    assert cli("transcribe", sample, "-m", "demo", "--text", "--json").status == 2


def test_several_formats_are_written_beside_each_input(
    cli: Cli, sample: Path, tmp_path: Path
) -> None:
    for name in ("a/talk.wav", "b/talk.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(sample.read_bytes())
    result = cli("transcribe", tmp_path, "-m", "demo", "-f", "srt, vtt", "--beside")
    assert result.status == 0
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("talk.*")}
    written -= {"a/talk.wav", "b/talk.wav"}
    assert written == {"a/talk.srt", "a/talk.vtt", "b/talk.srt", "b/talk.vtt"}
    refused = cli("transcribe", sample, "-m", "demo", "-f", "srtt")
    assert refused.status == 2
    assert "hint: did you mean srt?" in refused.stderr


def test_one_line_says_what_an_input_was_and_another_what_all_were(
    cli: Cli, sample: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.wav"
    other = tmp_path / "other.wav"
    other.write_bytes(sample.read_bytes())
    result = cli("transcribe", sample, missing, other, "-m", "demo", "-f", "srt", "-o", tmp_path)
    lines = result.stderr.splitlines()
    line = re.compile(r": en \(1\.00\) · 0:\d\d in \d+\.\d s · \d+\.\dx · wrote (.*)$")
    written = [match[1] for text in lines if (match := line.search(text))]
    assert written == [str(tmp_path / f"{path.stem}.srt") for path in (sample, other)]
    assert sum(text.startswith(" stage ") for text in lines) == 1
    assert any(re.match(r"2 of 3 inputs · 0:\d\d in .* · 1 failed$", text) for text in lines)
    each = cli("transcribe", sample, other, "-m", "demo", "--timings")
    assert sum(text.startswith(" stage ") for text in each.stderr.splitlines()) == 3
    given = cli("transcribe", sample, "-m", "demo", "--language", "en")
    assert f"{sample}: en · 0:" in given.stderr


def test_quiet_prints_warnings_and_errors_alone(cli: Cli, sample: Path, tmp_path: Path) -> None:
    cut_file = tmp_path / "cut.wav"
    cut_file.write_bytes(sample.read_bytes()[:-3000])
    missing = tmp_path / "missing.wav"
    result = cli("transcribe", cut_file, missing, "-m", "demo", "--quiet")
    assert result.stdout.startswith(f"==> {cut_file} <==")
    kinds = [line.partition(": ")[0] for line in result.stderr.splitlines()]
    assert kinds == ["warning", "error", "hint", "failed", f"  {missing}"]
