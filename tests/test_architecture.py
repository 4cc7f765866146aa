"""The package keeps its layers, and its modules stay small enough to read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "whisper_npu_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 500

# Lower layers first; a module imports lower layers, or its own package.
LAYERS = [
    {"__init__", "errors", "dims", "timing", "transcript"},
    {"overlay", "languages"},
    {
        "audio",
        "audio_readers",
        "mel",
        "tokenizer",
        "tensor_files",
        "weights",
        "random_checkpoint",
        "save_checkpoint",
        "checkpoints",
    },
    {"encoder", "decoder", "npu", "reference", "longform"},
    {"engine", "report", "writers", "diagnose"},
    {"pipeline", "bench"},
    {"cli"},
]
ONLY_IN = {"typer": "cli", "pyxrt": "npu/xrt.py", "aie": "(nowhere)"}


def unit(path: Path) -> str:
    """The layered unit of a module: its top-level package or its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer(name: str) -> int:
    return next(index for index, names in enumerate(LAYERS) if name in names)


def imports(path: Path) -> set[str]:
    """Every module named by an import anywhere in the file, type checking included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_imports_only_lower_layers(path: Path) -> None:
    own = unit(path)
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "whisper_npu_cli" and rest:
            target = rest.split(".")[0]
            assert target == own or layer(target) <= layer(own), f"{own} imports {target}"
        if package in ONLY_IN:
            assert str(path.relative_to(PACKAGE)).startswith(ONLY_IN[package]), name


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_is_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {unit(path): set[str]() for path in MODULES}
    for path in MODULES:
        for name in imports(path):
            if name.startswith("whisper_npu_cli."):
                graph[unit(path)].add(name.split(".")[1])
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' -> '.join((*trail, name))}"
        if name not in done:
            for target in graph.get(name, set()) - {name}:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
