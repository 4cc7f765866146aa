"""`make xclbins`, with stand-ins for the tools: what is built, what is not, and what it says."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlir import build
from mlir.toolchain import Toolchain, ToolchainError, find_toolchain, list_options, read_toml
from whisper_npu_cli.engines.npu.encoder import choose_overlays
from whisper_npu_cli.engines.npu.manifest import load_manifest, verify
from whisper_npu_cli.engines.npu.spec import StreamSpec

ROW: dict[str, Any] = {
    "design": "mlir.designs.whisper",
    "device": "npu1",
    "columns": 4,
    "models": ["tiny"],
    "operations": ["gemm", "attention", "layernorm", "spectrum"],
}
ALL, ROWS = "gemm attention layernorm spectrum", "gemm layernorm spectrum"
SPLIT = {**ROW, "splits": [[ALL], [ROWS, "attention"]]}
HELP = """OVERVIEW: stand-in
OPTIONS:
  --aie-generate-npu-insts  - Generate instructions
  --aie-generate-xclbin     - Generate xclbin
  --no-compile              - Disable compiling
  --no-xchesscc             - Use Peano
  --dynamic-objFifos=<x>    - Lower dynamically
"""
AIECC = """#!/bin/sh
if [ "$1" = --help-hidden ]; then cat "$0.help"; exit; fi
echo "$@" >> {log}
for source; do :; done
if grep -q FAIL "$source"; then echo "aiecc: no room" >&2; exit 1; fi
if grep -q LONG "$source"; then
  echo "{overflow}" >&2; exit 1
fi
for argument; do
  case $argument in
    --npu-insts-name=*|--xclbin-name=*) echo "$argument $source" > "${{argument#*=}}";;
  esac
done
mkdir -p work
echo elf > work/core_0_2.elf
"""
CLANG = """#!/bin/sh
for out; do :; done
echo object > "$out"
printf 'kernel.cc:1:f\\t{stack}\\tstatic\\n' > "${{out%.o}}.su"
"""
SIZE = """#!/bin/sh
printf 'section size addr\\n.text {text} 0\\n.data 64 0\\n'
"""


class Tools:
    """A folder of programs that do what the build needs of the real ones."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "aiecc.log"
        (folder / "bin").mkdir(parents=True)
        self.bin = folder / "bin"
        self.set_sizes()
        self.set_overflow("")
        aiecc = str(self.bin / "aiecc")
        options = list_options(aiecc)
        self.found = Toolchain(aiecc, folder, folder, {"mlir-aie": "1.3.4"}, options)

    def set_sizes(self, stack: int = 256, text: int = 12_000) -> None:
        self.write("clang++", CLANG.format(stack=stack))
        self.write("llvm-size", SIZE.format(text=text))

    def set_overflow(self, message: str) -> None:
        self.write("aiecc.help", HELP)
        self.write("aiecc", AIECC.format(log=self.log, overflow=message))

    def runs(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def write(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IEXEC)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    monkeypatch.setattr(build, "print_mlir", lambda spec, _design: f"// {spec.name}\n")
    return Tools(tmp_path / "tools")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "xclbins"


def test_a_build_verifies_and_is_not_repeated(tools: Tools, target: Path) -> None:
    assert "built" in build.build(tools.found, "whisper", ROW, target)
    manifest = load_manifest(target / "manifest.json")
    verify(manifest)
    specs = build.plan_streams(ROW)
    assert {stream.spec for stream in manifest.overlays[0].streams} == set(specs)
    assert sum("--aie-generate-xclbin" in run for run in tools.runs()) == 1
    assert len(tools.runs()) == len(specs)
    left = {path.suffix for path in target.rglob("*") if path.is_file()}
    assert left == {".json", ".xclbin", ".bin"}
    assert "up to date" in build.build(tools.found, "whisper", ROW, target)
    assert len(tools.runs()) == len(specs)


def test_more_streams_reuse_those_that_are_built(tools: Tools, target: Path) -> None:
    build.build(tools.found, "whisper", ROW, target)
    before = len(tools.runs())
    build.build(tools.found, "whisper", {**ROW, "models": ["tiny", "base"]}, target)
    manifest = load_manifest(target / "manifest.json")
    verify(manifest)
    n_new = len(manifest.overlays[0].streams) - before
    assert len(tools.runs()) - before <= n_new + 1  # the first stream comes with the xclbin


def test_an_overlay_is_built_beside_the_others(tools: Tools, target: Path) -> None:
    build.build(tools.found, "whisper", ROW, target)
    n_streams = len(tools.runs())
    build.build(tools.found, "other", {**ROW, "design": "mlir.designs.other"}, target)
    assert len(tools.runs()) == 2 * n_streams  # another design's streams are of no use to it
    manifest = load_manifest(target / "manifest.json")
    verify(manifest)
    assert [overlay.name for overlay in manifest.overlays] == ["whisper", "other"]
    assert "up to date" in build.build(tools.found, "whisper", ROW, target)


def test_an_overlay_of_other_tools_is_no_longer_named(tools: Tools, target: Path) -> None:
    build.build(tools.found, "whisper", ROW, target)
    newer = replace(tools.found, versions={"mlir-aie": "1.4.0"})
    build.build(newer, "other", ROW, target)
    manifest = load_manifest(target / "manifest.json")
    assert [overlay.name for overlay in manifest.overlays] == ["other"]
    assert manifest.toolchain == newer.versions


def test_a_failing_build_leaves_what_was_there(
    tools: Tools, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.build(tools.found, "whisper", ROW, target)
    before = (target / "manifest.json").read_bytes()
    monkeypatch.setattr(build, "print_mlir", lambda *_: "// FAIL\n")
    with pytest.raises(build.BuildError, match="no room"):
        build.build(tools.found, "whisper", {**ROW, "models": ["base"]}, target)
    assert (target / "manifest.json").read_bytes() == before
    verify(load_manifest(target / "manifest.json"))
    assert [path.name for path in target.parent.glob("xclbins-*")] == []


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"text": 16_385}, r"core_0_2.elf: 16385 bytes of code, a core has 16384"),
        ({"stack": 2304}, r"2304 bytes of stack, the design leaves 2304"),
    ],
)
def test_what_does_not_fit_a_core_is_refused(
    tools: Tools, target: Path, sizes: dict[str, int], message: str
) -> None:
    tools.set_sizes(**sizes)
    with pytest.raises(build.BuildError, match=message):
        build.build(tools.found, "whisper", ROW, target)
    assert not target.exists()


# What aiecc prints: mlir-aie issue 2426, and pull request 3618.
OVERFLOWS = [
    "[AIE ERROR] _XAie_LoadProgMemSection():231: Overflow of program memory",
    "ld.lld: error: section '.text' will not fit in region 'program': overflowed by 224 bytes",
]


@pytest.mark.parametrize("message", OVERFLOWS)
def test_a_program_that_is_too_long_is_explained(
    tools: Tools, target: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    tools.set_overflow(message)
    monkeypatch.setattr(build, "print_mlir", lambda *_: "// LONG\n")
    with pytest.raises(build.ProgramError, match=r"exceeds the 16384 bytes .*gemm\.o 12000"):
        build.build(tools.found, "whisper", ROW, target)


def test_what_no_core_holds_is_built_as_two_overlays(
    tools: Tools, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.set_overflow(OVERFLOWS[0])

    def print_mlir(spec: StreamSpec, row: dict[str, Any]) -> str:
        return f"// {'LONG' if len(row['operations']) == 4 else spec.name}\n"

    monkeypatch.setattr(build, "print_mlir", print_mlir)
    done = build.build_first_that_fits(tools.found, "whisper", SPLIT, target)
    assert done.splitlines() == [
        "whisper-gemm-layernorm-spectrum: built, 10 streams",
        "whisper-attention: built, 1 streams",
    ]
    manifest = load_manifest(target / "manifest.json")
    verify(manifest)
    chosen = choose_overlays(manifest, tuple(build.plan_streams(ROW)))
    names = {spec.op: overlay.name for spec, overlay in chosen.items()}
    assert names == {
        "gemm": "whisper-gemm-layernorm-spectrum",
        "layernorm": "whisper-gemm-layernorm-spectrum",
        "spectrum": "whisper-gemm-layernorm-spectrum",
        "attention": "whisper-attention",
    }


def test_one_overlay_is_enough_where_a_core_holds_it(tools: Tools, target: Path) -> None:
    assert "whisper: built" in build.build_first_that_fits(tools.found, "whisper", SPLIT, target)
    assert "up to date" in build.build_first_that_fits(tools.found, "whisper", SPLIT, target)
    tools.set_sizes(text=16_385)
    with pytest.raises(build.ProgramError, match=r"core_0_2.elf: 16385 bytes"):
        build.build_first_that_fits(tools.found, "other", SPLIT, target)


def test_without_tools_it_says_what_to_install_and_builds_nothing(target: Path) -> None:
    environment = {**os.environ, "PATH": ""}
    command = [sys.executable, "-m", "mlir.build", "--xclbins", str(target)]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=build.MLIR.parent
    )
    assert ended.returncode == 2
    assert ended.stderr.count("error:") == 1
    for words in ("mlir_aie is not installed", "xclbinutil", "pip install mlir_aie==", "docker"):
        assert words in ended.stderr
    assert not target.exists()


LOWERED = """module {
  aie.device(npu1) {
    %array = aie.tile(0, 0)
    aie.runtime_sequence(%stream) {
      aiex.npu.write32
    }
    %more = aie.tile(0, 1)
  }
}"""


@pytest.fixture
def aie_opt(tools: Tools) -> Path:
    """A program that prints one array and the name of the stream."""
    script = f"#!/bin/sh\ncat <<END\n{LOWERED.replace('%stream', '$(cat design.mlir)')}\nEND\n"
    tools.write("aie-opt", script)
    return tools.bin / "aie-opt"


def test_check_lowers_every_stream(aie_opt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build.check(aie_opt, ROW)
    specs = build.plan_streams(ROW)
    assert capsys.readouterr().err.splitlines() == [f"lowered {spec.name}" for spec in specs]


@pytest.mark.parametrize("place", ["%array", "%more"])
def test_check_wants_one_array_for_all_streams(aie_opt: Path, place: str) -> None:
    aie_opt.write_text(aie_opt.read_text().replace(place, "%$(cat design.mlir | tail -c 5)"))
    with pytest.raises(build.BuildError, match="its array is not that of the streams before it"):
        build.check(aie_opt, ROW)


def test_check_says_what_aie_opt_says(aie_opt: Path) -> None:
    aie_opt.write_text("#!/bin/sh\necho 'error: 64 KB exceeded' >&2; exit 1\n")
    with pytest.raises(build.BuildError, match=r"aie-opt failed:\nerror: 64 KB exceeded"):
        build.check(aie_opt, ROW)


def test_the_container_has_the_versions_of_the_lock() -> None:
    lock = read_toml(build.MLIR / "toolchain.lock")
    dockerfile = (build.MLIR / "Dockerfile").read_text()
    for row in lock.values():
        assert row["reason"]
        if "package" in row:
            assert f"{row['package']}=={row['version']}" in dockerfile
            assert row["index"] in dockerfile


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlir.toolchain.version", lambda _: "0.0.1")
    with pytest.raises(Exception, match=r"mlir_aie is 0.0.1, the lock says 1.3.4"):
        find_toolchain()


@pytest.mark.parametrize(
    ("mlir_aie", "peano", "refusal"),
    [
        ("1.3.4", "21.0.0.2026062301+cb664e8c", ""),
        ("1.4.2", "22.0.0.2026081401", ""),
        ("1.3.4", "21.0.0.2026062401+fdf257de", "llvm-aie 21.0.0.2026062401 miscompiles calls"),
        ("1.3.4", "21.0.0.2026070701", "llvm-aie 21.0.0.2026070701 miscompiles calls"),
        ("1.4.0", "21.0.0.2026070801", ""),
        ("1.3.3", "21.0.0.2026062301", "mlir_aie is 1.3.3, the lock says 1.3.4"),
    ],
)
def test_compilers_that_are_known_to_be_bad_are_refused(
    monkeypatch: pytest.MonkeyPatch, mlir_aie: str, peano: str, refusal: str
) -> None:
    found = {"mlir_aie": mlir_aie, "llvm-aie": peano}
    monkeypatch.setattr("mlir.toolchain.version", found.__getitem__)
    with pytest.raises(ToolchainError) as refused:  # at least xclbinutil is absent
        monkeypatch.setenv("PATH", "")
        find_toolchain()
    assert refusal in str(refused.value)
    assert str(refused.value).count("miscompiles") == ("miscompiles" in refusal)
    assert ("the lock says" in str(refused.value)) == ("the lock says" in refusal)


def test_aiecc_is_given_the_options_that_it_has(tools: Tools, target: Path) -> None:
    build.build(tools.found, "whisper", ROW, target)
    first, second, *_ = (set(run.split()) for run in tools.runs())
    assert {"--aie-generate-xclbin", "--no-xchesscc", "--dynamic-objFifos"} <= first
    assert "--no-compile" in second - first
    assert "--no-xbridge" not in first  # not in its help
    tools.log.unlink()
    build.build(replace(tools.found, options=frozenset()), "newer", ROW, target)
    first, second, *_ = (set(run.split()) for run in tools.runs())
    assert {"--get-xclbin", "--get-npu-insts"} <= first
    assert not {"--no-xchesscc", "--dynamic-objFifos", "--no-compile"} & (first | second)
    assert "--get-xclbin" not in second
