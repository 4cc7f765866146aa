"""`whisper-npu bench`: the speed of each device beside the limits of the machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whisper_npu_cli.cli.completion import complete_device, complete_model
from whisper_npu_cli.cli.console import print_notice, print_step
from whisper_npu_cli.cli.fields import Only, from_fields
from whisper_npu_cli.devices import list_devices
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.options import EngineOptions

if TYPE_CHECKING:
    from rich.table import Table

    from whisper_npu_cli.bench.measure import BenchOptions

_RATES = {
    "gemm_fp32_gflops": "products in fp32 at {:.0f} GFLOP/s",
    "gemm_bf16_gflops": "products in bf16 at {:.0f} GFLOP/s",
    "gemm_int8_gflops": "products in int8 at {:.0f} GOP/s",
    "multiply_int8_int16_gmacs": "int8 by int16 at {:.0f} G multiply-adds/s",
    "memory_read_gb_s": "memory read at {:.1f} GB/s",
}


@from_fields
def bench(
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            autocompletion=complete_model,
            help="Any model; random:SIZE needs no download.",
        ),
    ] = "random:base",
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE",
            autocompletion=complete_device,
            help=f"One of {', '.join(list_devices())}; several times (default: cpu).",
        ),
    ] = None,
    engine: Annotated[EngineOptions, Only("precision", "n_threads")],
    runs: Annotated[int, typer.Option(min=1, help="Runs after a warm-up.")] = 7,
    tokens: Annotated[int, typer.Option(min=1, max=440, help="Tokens for each window.")] = 90,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Windows together; several (default: 1 and 8).")
    ] = None,
    beam: Annotated[
        list[int] | None, typer.Option(min=1, help="Beams a window; several (default: 1 and 5).")
    ] = None,
    parts: Annotated[bool, typer.Option("--parts", help="Also where a decoder step goes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Write a chart of the windows.")
    ] = None,
) -> None:
    """Measure every stage beside the machine's own limits.

    Every batch is measured with one beam, and every beam with one window.

    Example: whisper-npu bench --model random:base --runs 5 --plot base.svg
    """
    from whisper_npu_cli.bench.measure import BenchOptions
    from whisper_npu_cli.bench.plot import plot_svg
    from whisper_npu_cli.writers import write_atomically

    if plot and plot.suffix != ".svg":
        raise UsageError(
            f"{plot}: charts are written as SVG", hint=f"name it {plot.with_suffix('.svg')}"
        )
    shapes = {(n, 1) for n in batch or [1, 8]} | {(1, n) for n in beam or [1, 5]}
    options = BenchOptions(model, runs, tokens, tuple(sorted(shapes)), parts)
    engines = [replace(engine, device=name) for name in device or ["cpu"]]
    results = [_measure(options, engine) for engine in engines]
    document = _make_document(options, engine, results)
    if as_json:
        print(json.dumps(document))
    else:
        _print_tables(document)
    if plot:  # last, so that a failure loses no measurement
        write_atomically(plot, plot_svg(document), hint="name another file with --plot")


def _measure(options: BenchOptions, engine: EngineOptions) -> dict[str, Any]:
    """Measure one device in a process of its own, so that its peak memory is its own."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from whisper_npu_cli.bench.measure import bench_device

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(bench_device, options, engine, print_notice, print_step).result()


def _make_document(
    options: BenchOptions, engine: EngineOptions, results: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return all results; the rates of the machine are the medians over the devices."""
    from datetime import date
    from statistics import median

    from whisper_npu_cli.bench.start import measure_start
    from whisper_npu_cli.environment import collect_versions, read_cpu_name

    print_step("a start of the program")
    machines = [result["machine"] for result in results]
    return {
        "schema_version": 1,
        "model": options.model,
        "runs": options.n_runs,
        "tokens": options.n_tokens,
        "date": f"{date.today():%Y-%m-%d}",
        "cpu": read_cpu_name(),
        "threads": engine.thread_count,
        "versions": collect_versions(),
        "machine": {name: median(rates[name] for rates in machines) for name in machines[0]},
        "start": measure_start(options.n_runs),
        "devices": [result["device"] for result in results],
    }


def _print_tables(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    rates = ", ".join(_RATES[name].format(rate) for name, rate in document["machine"].items())
    console.print(f"{document['model']}, medians of {document['runs']} runs, {document['date']}")
    console.print(f"{document['cpu']}, {document['threads']} threads: {rates}")
    console.print(_describe_start(document["start"]))
    for device in document["devices"]:
        engines, window, accuracy = device["engines"], device["window"], device["accuracy"]
        title = f"{device['name']}: {engines['encode']}, {engines['decode']}"
        table = Table(title=title, title_justify="left", box=None)
        table.add_column("stage", no_wrap=True)
        for heading in ("ms", "min", "p95", "limit ms", "of limit"):
            table.add_column(heading, justify="right")
        table.add_row("mel, a window", *_format_cells(device["mel"], "ms_per_window"))
        encode = device["encode"]
        limit = "limit_ms" if "limit_ms" in encode else None
        table.add_row("encode, a window", *_format_cells(encode, "ms_per_window", limit))
        for row in device["decode"]:
            stage = f"decode, a step, batch {row['batch']} beam {row['beam']}"
            table.add_row(stage, *_format_cells(row, "ms_per_step", "floor_ms"))
        stage = f"window of {document['tokens']} tokens, batch {window['batch']}"
        table.add_row(stage, *_format_cells(window, "ms_per_window"))
        console.print(table)
        if "parts" in device:
            console.print(_make_parts_table(device["parts"]))
        if "device_ms" in encode:
            origin = "predicted, not measured" if encode["device_ms_predicted"] else "measured"
            console.print(
                f"encode on the device: {encode['device_ms']:.1f} ms ({origin}); "
                f"on the host beside it: {encode['host_ms']:.1f} ms of processor time (measured)"
            )
        console.print(_describe_energy(device["energy"]))
        console.print(
            f"{window['speed']:.1f} times realtime; "
            f"at most {device['peak_memory_mb']:.0f} MB of memory; "
            "relative L2 distance from the reference engine: "
            f"states {accuracy['states_relative_l2']:.1e}, "
            f"logits {accuracy['logits_relative_l2']:.1e}\n"
        )


def _describe_energy(energy: dict[str, Any] | None) -> str:
    if energy is None:
        return (
            "energy: not measured (no powercap, hwmon or battery can be read; powercap is root's)"
        )
    return (
        f"energy: {energy['joules_per_hour_of_audio']:.0f} J above idle an hour of audio "
        f"(by {energy['source']}; idle at {energy['idle_w']:.1f} W)"
    )


def _describe_start(start: dict[str, Any]) -> str:
    ms = start["imports_ms"]
    most = ", ".join(f"{package} {ms[package]:.0f}" for package in list(ms)[:5])
    return (
        f"a start with the model demo and 5 s of audio: {start['seconds']:.2f} s;"
        f" imports {sum(ms.values()):.0f} ms: {most}, others"
    )


def _make_parts_table(shapes: list[dict[str, Any]]) -> Table:
    """Return the parts of a step, a column for each shape."""
    from rich.table import Table

    table = Table(box=None)
    table.add_column("part of a step, ms", no_wrap=True)
    for shape in shapes:
        table.add_column(f"batch {shape['batch']} beam {shape['beam']}", justify="right")
    columns = [shape["ms_per_step"] for shape in shapes]
    for part in columns[0]:
        table.add_row(part, *(f"{column[part]:.2f}" for column in columns))
    table.add_row("a step", *(f"{sum(column.values()):.2f}" for column in columns))
    return table


def _format_cells(row: dict[str, float], unit: str, limit: str | None = None) -> list[str]:
    cells = [f"{row[name]:.2f}" for name in (unit, f"min_{unit}", f"p95_{unit}")]
    if limit:
        cells += [f"{row[limit]:.2f}", f"{row['share_of_limit']:.0%}"]
    return cells
