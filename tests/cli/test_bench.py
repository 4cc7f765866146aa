"""`whisper-npu bench` on a small random model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Result
from tests.support.bad_checkpoints import write_good_checkpoint
from tests.support.terminal import run_on_terminal
from whisper_npu_cli.doctor import MAX_STATES_ERROR


def test_json_and_plot(cli: Cli, tmp_path: Path) -> None:
    write_good_checkpoint(tmp_path / "model")
    plot = tmp_path / "bench.svg"
    options = ("--runs", 2, "--tokens", 5, "--batch", 2, "--beam", 3, "--json", "--plot", plot)
    result = cli("bench", "--model", tmp_path / "model", *options)
    assert result.status == 0
    document = result.document
    assert document["machine"].keys() >= {"gemm_fp32_gflops", "memory_read_gb_s"}
    assert all(rate > 0 for rate in document["machine"].values())
    assert 0 < document["start"]["min_seconds"] <= document["start"]["seconds"]
    assert document["start"]["imports_ms"]["numpy"] > 0
    (device,) = document["devices"]
    assert device["name"] == "cpu"
    assert device["encode"]["limit_ms"] > 0
    encode = device["encode"]
    assert encode["min_ms_per_window"] <= encode["ms_per_window"] <= encode["p95_ms_per_window"]
    shapes = [(row["batch"], row["beam"]) for row in device["decode"]]
    assert shapes == [(1, 3), (2, 1)]
    assert all(row["floor_ms"] > 0 for row in device["decode"])
    assert device["peak_memory_mb"] > 50
    assert device["accuracy"]["states_relative_l2"] < MAX_STATES_ERROR
    assert plot.read_text().startswith("<svg")
    window = device["window"]
    parts = sum(window[f"{stage}_ms"] for stage in ("mel", "encode", "decode"))
    assert window["ms_per_window"] == pytest.approx(parts)
    assert f"{document['cpu']}, {document['threads']} threads, " in plot.read_text()
    assert result.stderr == ""  # nobody waits at a terminal


def test_a_plot_that_cannot_be_written_costs_no_measurement(cli: Cli, tmp_path: Path) -> None:
    write_good_checkpoint(tmp_path / "model")
    plot = tmp_path / "plot.svg"
    plot.mkdir()
    options = ("--runs", 1, "--tokens", 1, "--batch", 1, "--beam", 1, "--json", "--plot", plot)
    result = cli("bench", "--model", tmp_path / "model", *options)
    assert result.status == 1
    assert result.document["devices"][0]["encode"]["ms_per_window"] > 0
    assert f"error: {plot}: cannot be written: " in result.stderr
    assert "--plot" in result.stderr


def bench_once(cli: Cli, folder: Path, device: str, *more: str) -> Result:
    """One run of a small model."""
    write_good_checkpoint(folder / "model")
    options = ("--runs", 1, "--tokens", 1, "--batch", 1, "--beam", 1, "--device", device)
    result = cli("bench", "--model", folder / "model", *options, *more)
    assert result.status == 0
    return result


def test_device_times_of_the_simulated_npu_are_marked(cli: Cli, tmp_path: Path) -> None:
    printed = bench_once(cli, tmp_path, "sim").stdout
    assert "sim: simulated RyzenAI-npu1 bf16" in printed
    times = r"on the device: \S+ ms \(predicted, not measured\); .* \S+ ms .*\(measured\)"
    assert re.search(times, printed)


def test_the_limit_of_the_cpu_is_not_that_of_another_device(cli: Cli, tmp_path: Path) -> None:
    printed = bench_once(cli, tmp_path, "openvino:AUTO").stdout
    assert "openvino:AUTO: openvino AUTO: " in printed
    (row,) = (line for line in printed.splitlines() if "encode, a window" in line)
    assert "%" not in row


def test_notices_of_the_measured_process_are_seen(cli: Cli, tmp_path: Path) -> None:
    assert re.search("^using the (CPU|NPU): ", bench_once(cli, tmp_path, "auto").stderr, re.M)


def test_int8_has_a_limit_of_its_own(cli: Cli, tmp_path: Path) -> None:
    document = bench_once(cli, tmp_path, "cpu", "--precision", "int8", "--json").document
    assert document["machine"]["gemm_int8_gflops"] > 0
    (device,) = document["devices"]
    assert device["engines"]["encode"].startswith("openvino int8")
    assert 1e-3 < device["accuracy"]["states_relative_l2"] < 0.05  # int8, and no more than that


def test_a_terminal_shows_what_is_being_done(tmp_path: Path) -> None:
    write_good_checkpoint(tmp_path / "model")
    options = ("--runs", 2, "--tokens", 1, "--batch", 1, "--beam", 1)
    status, lines = run_on_terminal(80, "bench", "--model", tmp_path / "model", *options)
    assert status == 0
    steps = [line.removeprefix("cpu: ") for line in lines if line.startswith("cpu: ")]
    assert steps[0].startswith("loading ")
    assert steps[1:4] == ["warming up", "run 1 of 2", "run 2 of 2"]
    printed = " ".join(lines)
    assert re.search(r"products in fp32 at \d+ GFLOP/s, memory read at \d+\.\d GB/s", printed)
    assert "times realtime" in printed


def test_unknown_device_is_a_usage_error(cli: Cli) -> None:
    result = cli("bench", "--device", "abacus")
    assert (result.status, result.stdout) == (2, "")
    assert "abacus" in result.stderr


def test_the_parts_of_a_step_sum_to_it(cli: Cli, tmp_path: Path) -> None:
    printed = bench_once(cli, tmp_path, "cpu", "--parts").stdout
    assert re.search("^ *part of a step, ms +batch 1 beam 1 *$", printed, re.M)
    document = bench_once(cli, tmp_path, "cpu", "--parts", "--json").document
    ((row,),) = (device["parts"] for device in document["devices"])
    parts = row["ms_per_step"]
    assert all(ms > 0 for ms in parts.values())
    assert {"self-attention", "cross-attention", "vocabulary", "threads and Python"} <= set(parts)


def test_parts_of_another_decoder_are_refused(cli: Cli, tmp_path: Path) -> None:
    write_good_checkpoint(tmp_path / "model")
    options = ("--runs", 1, "--tokens", 1, "--batch", 1, "--beam", 1, "--device", "reference")
    result = cli("bench", "--model", tmp_path / "model", *options, "--parts")
    assert result.status == 2
    assert "parts of" in result.stderr
