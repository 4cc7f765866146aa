"""The package keeps its layers, and its modules stay small enough to read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "whisper_npu_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 500

# Lower layers first; a module imports lower layers and its own package, not its layer's others.
LAYERS = [
    {"errors", "dims", "cpu_features", "timing", "transcript", "findings"},
    {"overlay", "languages", "audio_readers", "mel", "silero", "tensor_files"},
    {"audio", "vad", "tokenizer"},
    {"weights"},
    {"random_checkpoint", "save_checkpoint"},
    {"checkpoints", "npu", "words"},
    {"encoder"},
    {"decoder"},
    {"reference", "longform", "options"},
    {"hallucinations", "engine", "writers"},
    {"stages"},
    {"sequential"},
    {"batched"},
    {"pipeline", "bench"},
    {"report"},
    {"diagnose", "__init__"},
    {"cli"},
]
# What only one place imports: its path, or how that begins
IMPORTERS = {"typer": ("cli/",), "pyxrt": ("npu/xrt.py",), "aie": ()}


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
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, "relative import"
            names = [alias.name for alias in node.names]
            found.update(map(member, names) if node.module == PACKAGE.name else [node.module])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found.update(arg.value for arg in node.args if isinstance(arg, ast.Constant))
    return found


def member(name: str) -> str:
    """The module of what `from whisper_npu_cli import name` gives: itself one, or exported."""
    if name == "__version__":  # of no layer: it imports nothing
        return PACKAGE.name
    is_module = name in {unit(path) for path in MODULES}
    return f"{PACKAGE.name}.{name if is_module else '__init__'}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_imports_only_lower_layers(path: Path) -> None:
    own = unit(path)
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == PACKAGE.name and rest:
            target = rest.split(".")[0]
            assert target == own or layer(target) < layer(own), f"{own} imports {target}"


@pytest.mark.parametrize("package", IMPORTERS)
def test_package_is_imported_in_its_place_alone(package: str) -> None:
    importers = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if package in {name.partition(".")[0] for name in imports(path)}
    }
    places = IMPORTERS[package]
    assert all(name.startswith(places) for name in importers), importers
    assert bool(importers) == bool(places)  # or the import is one that `imports` does not see


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_is_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
