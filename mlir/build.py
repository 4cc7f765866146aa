"""Build the overlay: overlays.toml -> MLIR -> aiecc -> xclbins/ and its manifest.

    python -m mlir.build            build what is not built, or was built of other sources
    python -m mlir.build --check    lower every stream with the real mlir-aie, build nothing

Everything is made in a folder of its own and moved into place at the end, the manifest last, so
a build that fails leaves what was there before. Exit status 2: tools are missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlir.toolchain import Toolchain, ToolchainError, find_aie_opt, find_toolchain, read_toml
from whisper_npu_cli.checkpoints.names import find_dims
from whisper_npu_cli.engines.npu.manifest import (
    Manifest,
    Overlay,
    Stream,
    hash_sources,
    load_manifest,
    verify,
)
from whisper_npu_cli.engines.npu.plan import plan_encoder
from whisper_npu_cli.engines.npu.spec import KERNEL, StreamSpec
from whisper_npu_cli.errors import OverlayError, WhisperNpuError

MLIR = Path(__file__).parent
XCLBINS = MLIR.parent / "xclbins"
PROGRAM_BYTES = 16 * 1024  # program memory of a core, for all that is linked to it
STACK_RESERVE = 512  # bytes of stack for the core's own frame, above the deepest kernel
COMPILE = (
    "-O2",
    "-std=c++20",
    "--target=aie2-none-unknown-elf",
    "-DNDEBUG",
    "-fno-unroll-loops",
    "-fstack-usage",
)
LOWER = "--alloc-scheme=basic-sequential"  # bank-aware may leave no room for kernels' constants
DEFAULTS = (  # what mlir-aie 1.4 does unasked, and has no options for
    "--no-compile-host",
    "--no-xchesscc",
    "--no-xbridge",
    "--dynamic-objFifos",  # loops with bounds known only at run time
)
# What aiecc does before it needs Peano, as passes of aie-opt: first the array, then the sequence.
ARRAY = (
    "builtin.module(aie.device(aie-place-tiles),lower-affine,aie-canonicalize-device,aie.device("
    "aie-assign-lock-ids,aie-register-objectFifos,"
    "aie-objectFifo-stateful-transform{dynamic-objFifos=true},aie-assign-bd-ids,"
    "aie-assign-tile-controller-ids,aie-generate-column-control-overlay,"
    "aie-assign-buffer-addresses{alloc-scheme=basic-sequential},aie-assign-core-link-files),"
    "convert-scf-to-cf,aie.device(aie-create-pathfinder-flows))"
)
SEQUENCE = (
    "builtin.module(aie-materialize-runtime-sequences,aie.device(aie-materialize-bd-chains,"
    "aie-substitute-shim-dma-allocations,aie-assign-runtime-sequence-bd-ids,canonicalize,"
    "aie-dma-tasks-to-npu,aie-dma-to-npu,aie-lower-set-lock))"
)


OVERFLOWS = (  # what aiecc ends with where a core's program is too long
    "Overflow of program memory",  # from aie-rt, without the core (mlir-aie #2426)
    "will not fit in region 'program'",  # from the linker since mlir-aie #3618
)


class BuildError(Exception):
    """A tool failed, or made what does not fit."""


class ProgramError(BuildError):
    """The programs of an overlay do not fit a core."""


def plan_streams(row: dict[str, Any]) -> list[StreamSpec]:
    """Return the streams that the planner asks of an overlay, each once."""
    specs = {spec for model in row["models"] for spec in plan_encoder(find_dims(model)).specs}
    return sorted((spec for spec in specs if spec.op in row["operations"]), key=lambda x: x.name)


def build_first_that_fits(tools: Toolchain, name: str, row: dict[str, Any], target: Path) -> str:
    """Build all operations as one overlay or, where a core cannot hold that, as several."""
    *splits, last = (split_row(name, row, split) for split in row["splits"])
    for parts in splits:
        try:
            return _build_parts(tools, parts, target)
        except ProgramError as error:
            print(f"{name}: {error}; trying another split", file=sys.stderr)
    return _build_parts(tools, last, target)


def _build_parts(tools: Toolchain, parts: dict[str, dict[str, Any]], target: Path) -> str:
    return "\n".join(build(tools, name, row, target) for name, row in parts.items())


def split_row(name: str, row: dict[str, Any], split: list[str]) -> dict[str, dict[str, Any]]:
    """Return the rows of the overlays of one split, each with its operations, by their names."""
    names = [name] if len(split) == 1 else [f"{name}-{part.replace(' ', '-')}" for part in split]
    rows = ({**row, "operations": part.split()} for part in split)
    return dict(zip(names, rows, strict=True))


def build(tools: Toolchain, name: str, row: dict[str, Any], target: Path) -> str:
    """Build overlay `name` of the operations that `row` names; return what was done."""
    specs = plan_streams(row)
    intact = _find_intact(target, tools)
    others = tuple(one for one in intact if one.name != name)
    earlier = (stream for one in intact if one.name == name for stream in one.streams)
    reusable = {stream.spec: target / stream.insts for stream in earlier}
    if all(spec in reusable for spec in specs):
        return f"{name}: up to date, {len(specs)} streams"
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="xclbins-", dir=target.parent) as made:
        folder = Path(made)
        overlay = folder / row["device"] / name
        overlay.mkdir(parents=True)
        _compile_kernels(tools, overlay)
        for index, spec in enumerate(specs):
            print(f"{name}: {index + 1} of {len(specs)}: {spec.name}", file=sys.stderr)
            if index and spec in reusable:
                shutil.copy(reusable[spec], overlay / f"{spec.name}.insts.bin")
            else:
                lower(tools, overlay, spec, row, with_xclbin=not index)
        _check_programs(tools, overlay)
        overlays = (*others, _describe(folder, name, row, specs))
        manifest = Manifest(folder / "manifest.json", hash_sources(MLIR), tools.versions, overlays)
        _keep_results(overlay)
        manifest.path.write_text(manifest.to_json(), encoding="utf-8")
        _replace(folder, target, f"{row['device']}/{name}")
    return f"{name}: built, {len(specs)} streams"


def print_mlir(spec: StreamSpec, row: dict[str, Any]) -> str:
    """Return the MLIR of a stream, printed by the design on the real IRON."""
    command = [sys.executable, "-m", row["design"], json.dumps(asdict(spec)), *row["operations"]]
    return _run(command, cwd=MLIR.parent)


def lower(
    tools: Toolchain, folder: Path, spec: StreamSpec, row: dict[str, Any], *, with_xclbin: bool
) -> None:
    """Make the instructions of a stream, and with the first one the xclbin of all."""
    source = folder / f"{spec.name}.mlir"
    source.write_text(print_mlir(spec, row), encoding="utf-8")
    command = [tools.aiecc, LOWER, f"--peano={tools.peano}", "--tmpdir=work"]
    command += [option for option in DEFAULTS if option in tools.options]
    command += [_ask_for(tools, "npu-insts"), f"--npu-insts-name={spec.name}.insts.bin"]
    if with_xclbin:
        command += [_ask_for(tools, "xclbin"), "--xclbin-name=overlay.xclbin"]
        command += [f"--xclbin-kernel-name={KERNEL}"]
    elif "--no-compile" in tools.options:  # the array's part is the same for every stream
        command += ["--no-compile"]
    command += [source.name]
    try:
        _run(command, cwd=folder)
    except BuildError as error:
        if any(mark in str(error) for mark in OVERFLOWS):
            raise ProgramError(_explain_overflow(tools, folder)) from error
        raise


def _ask_for(tools: Toolchain, output: str) -> str:
    """Return aiecc's option that asks for an output: 1.4 renamed it (mlir-aie #3364)."""
    old = f"--aie-generate-{output}"
    return old if old in tools.options else f"--get-{output}"


def _explain_overflow(tools: Toolchain, folder: Path) -> str:
    """Say what the kernels take of program memory; aiecc has deleted the core's own program."""
    objects = sorted(folder.glob("*.o"))
    sizes = ", ".join(f"{path.name} {_count_text(tools, path)}" for path in objects)
    return f"a core's program exceeds the {PROGRAM_BYTES} bytes that a core has ({sizes})"


def _find_intact(target: Path, tools: Toolchain) -> tuple[Overlay, ...]:
    """Return the overlays of an earlier build of the same sources with the same tools."""
    try:
        manifest = load_manifest(target / "manifest.json")
        verify(manifest)
    except OverlayError:
        return ()
    same = manifest.source_sha256 == hash_sources(MLIR) and manifest.toolchain == tools.versions
    return manifest.overlays if same else ()


def _compile_kernels(tools: Toolchain, folder: Path) -> None:
    compiler = str(tools.peano / "bin" / "clang++")
    for kernel in sorted((MLIR / "kernels").glob("*.cc")):
        command = [compiler, *COMPILE, f"-I{tools.include}", "-c", str(kernel)]
        _run([*command, "-o", f"{kernel.stem}.o"], cwd=folder)


def _check_programs(tools: Toolchain, folder: Path) -> None:
    """Refuse cores whose code exceeds program memory, or kernels that exceed the stack."""
    for core in sorted(folder.rglob("*.elf")):
        total = _count_text(tools, core)
        if total > PROGRAM_BYTES:
            raise ProgramError(f"{core.name}: {total} bytes of code, a core has {PROGRAM_BYTES}")
    stack = _read_stack()
    for usage in sorted(folder.glob("*.su")):
        for row in usage.read_text(encoding="utf-8").splitlines():
            where, size, _ = row.rsplit("\t", 2)
            if int(size) + STACK_RESERVE > stack:
                raise BuildError(f"{where}: {size} bytes of stack, the design leaves {stack}")


def _count_text(tools: Toolchain, path: Path) -> int:
    """Return the bytes of code in an object or a core's program."""
    text = _run([str(tools.peano / "bin" / "llvm-size"), "-A", str(path)], cwd=path.parent)
    rows = [row.split() for row in text.splitlines() if row.startswith(".text")]
    return sum(int(size) for _, size, *_ in rows)


def _read_stack() -> int:
    """Return the STACK of the design without importing it: that would need mlir-aie."""
    for row in (MLIR / "designs" / "whisper.py").read_text(encoding="utf-8").splitlines():
        if row.startswith("STACK = "):
            return int(row.split()[2], 0)
    raise BuildError("designs/whisper.py names no STACK")


def _describe(folder: Path, name: str, row: dict[str, Any], specs: list[StreamSpec]) -> Overlay:
    place = f"{row['device']}/{name}"
    streams = []
    for spec in specs:
        insts = f"{place}/{spec.name}.insts.bin"
        streams.append(Stream(spec, insts, _hash(folder / insts)))
    xclbin = f"{place}/overlay.xclbin"
    return Overlay(
        name,
        row["device"],
        row["columns"],
        KERNEL,
        xclbin,
        _hash(folder / xclbin),
        tuple(streams),
    )


def _keep_results(overlay: Path) -> None:
    """Delete everything but the xclbin and the instructions."""
    for path in overlay.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix not in (".xclbin", ".bin"):
            path.unlink()


def _replace(made: Path, target: Path, overlay: str) -> None:
    """Move a finished overlay into place: without a manifest nothing of it counts as built."""
    (target / overlay).parent.mkdir(parents=True, exist_ok=True)
    (target / "manifest.json").unlink(missing_ok=True)
    shutil.rmtree(target / overlay, ignore_errors=True)
    (made / overlay).rename(target / overlay)
    (made / "manifest.json").rename(target / "manifest.json")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(command: list[str], cwd: Path) -> str:
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env=os.environ
    )
    if result.returncode:
        tail = "\n".join((result.stdout + result.stderr).splitlines()[-20:])
        raise BuildError(f"{Path(command[0]).name} failed:\n{tail}")
    return result.stdout


def check(aie_opt: Path, row: dict[str, Any]) -> None:
    """Run the designs on the real IRON and lower them with aie-opt; BuildError if one is refused.

    All streams must have one array: the build makes the xclbin with the first of them only.
    """
    arrays: set[str] = set()
    with TemporaryDirectory() as made:
        folder = Path(made)
        for spec in plan_streams(row):
            (folder / "design.mlir").write_text(print_mlir(spec, row), encoding="utf-8")
            lowered = _run([str(aie_opt), f"--pass-pipeline={ARRAY}", "design.mlir"], folder)
            (folder / "array.mlir").write_text(lowered, encoding="utf-8")
            _run([str(aie_opt), f"--pass-pipeline={SEQUENCE}", "array.mlir"], folder)
            arrays.add(_remove_sequence(lowered))
            if len(arrays) > 1:
                raise BuildError(f"{spec.name}: its array is not that of the streams before it")
            print(f"lowered {spec.name}", file=sys.stderr)


def _remove_sequence(module: str) -> str:
    """Return the text of a lowered module without its runtime sequence."""
    before, _, rest = module.partition("aie.runtime_sequence")
    return before + rest.partition("\n    }\n")[2]


def main() -> int:
    """Parse the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mlir.build")
    parser.add_argument("--check", action="store_true", help="lower only")
    parser.add_argument("--xclbins", type=Path, default=XCLBINS, help="folder to build into")
    arguments = parser.parse_args()
    overlays = read_toml(MLIR / "overlays.toml")
    try:
        for name, row in overlays.items():
            if arguments.check:
                for split in row["splits"]:
                    for part in split_row(name, row, split).values():
                        check(find_aie_opt(), part)
            else:
                done = build_first_that_fits(find_toolchain(), name, row, arguments.xclbins)
                print(done, file=sys.stderr)
    except (ToolchainError, BuildError, WhisperNpuError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ToolchainError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
