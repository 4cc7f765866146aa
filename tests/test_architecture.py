"""Packages have a direction, modules no cycles, and all are small enough to read."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "whisper_npu_cli"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
MAX_LINES = 400
# Modules and packages of the two upper levels, together: the 24 that transcribe recordings, and two
# that offer that to others, `serve` and `cluster`
MAX_ROOMS = 26

# A package imports those before it, itself, and values: the modules beside the packages that are
# not named here. `pipeline` and `doctor` are modules that stand on packages.
ORDER = [
    *("audio", "speech", "checkpoints", "engines", "decoding", "longform", "writers"),
    *("pipeline", "serve", "cluster", "bench", "doctor", "cli"),
]
# What only one place imports: its path, or how that begins
IMPORTERS = {
    **{"typer": ("cli/",), "pyxrt": ("engines/npu/xrt.py",), "aie": (), "mlir": ()},
    **{"starlette": ("serve/",), "uvicorn": ("serve/run.py",), "wyoming": ("serve/wyoming.py",)},
    "distributed": ("cluster/",),
}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> set[str]:
    """Every module named by an import anywhere in the file, type checking included."""
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, "relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in MODULES else node.module for name in names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found.update(arg.value for arg in node.args if isinstance(arg, ast.Constant))
    return found


def room(module: str) -> str:
    """The package or module beside the packages in which `module` is; "" for the package's own."""
    return ".".join(module.split(".")[1:2])


def test_packages_import_what_stands_before_them() -> None:
    breaches = []
    for module, path in MODULES.items():
        own = room(module)
        before = ORDER[: ORDER.index(own)] if own in ORDER else []
        for name in imports(path) if own else ():
            target = room(name)
            is_ours = name.partition(".")[0] == PACKAGE.name
            if is_ours and target in ORDER and target not in (own, *before):
                breaches.append(f"{module} imports {name}")
    assert not breaches


def test_modules_have_no_cycle() -> None:
    graph = {
        module: {name for name in imports(path) if name in MODULES and name != PACKAGE.name}
        for module, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # CycleError names the modules


def test_the_house_has_few_rooms() -> None:
    depths = [(module.count("."), path.name == "__init__.py") for module, path in MODULES.items()]
    rooms = [n for n, is_package in depths if n == 1 or (n == 2 and is_package)]
    assert len(rooms) <= MAX_ROOMS


def test_the_tree_in_contributing_has_the_rooms_that_there_are() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text[text.index("    whisper_npu_cli/\n") : text.index("\nBeside it:")]
    shown = re.findall(r"^        (\S+)  ", tree, re.MULTILINE)
    rooms = [
        f"{path.parent.relative_to(PACKAGE)}/" if path.name == "__init__.py" else path.name
        for module, path in MODULES.items()
        if module.count(".") == 1 or (module.count(".") == 2 and path.name == "__init__.py")
    ]
    assert sorted(shown) == sorted(rooms)


@pytest.mark.parametrize("package", IMPORTERS)
def test_package_is_imported_in_its_place_alone(package: str) -> None:
    importers = {
        str(path.relative_to(PACKAGE))
        for path in MODULES.values()
        if package in {name.partition(".")[0] for name in imports(path)}
    }
    places = IMPORTERS[package]
    assert all(name.startswith(places) for name in importers), importers
    assert bool(importers) == bool(places)  # or the import is one that `imports` does not see


def test_openvino_has_one_core() -> None:
    """Where one is dropped a signal may find no stack, see `find_core`."""
    calls = [
        str(path.relative_to(PACKAGE))
        for path in MODULES.values()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Core"
    ]
    assert calls == ["environment.py"]


@pytest.mark.parametrize("path", MODULES.values(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_is_small(path: Path) -> None:
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_LINES
