"""The overlay's manifest: what `overlays build` built, found, parsed and verified.

`xclbins/manifest.json` in, a `Manifest` out. `spec.py` says what a stream computes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from whisper_npu_cli.engines.npu import spec as contract
from whisper_npu_cli.engines.npu.spec import COLUMNS, DEVICE, KERNEL, StreamSpec
from whisper_npu_cli.environment import XCLBINS_VARIABLE, find_data_folder, find_shipped
from whisper_npu_cli.errors import OverlayError

SCHEMA_VERSION = 1
SOURCES = ("designs/*.py", "kernels/*", "build.py", "overlays.toml", "toolchain.lock")
HINT_BUILD = "`whisper-npu overlays build` builds it; `whisper-npu help npu` tells what that needs"


@dataclass(frozen=True)
class Stream:
    """A built instruction stream; `insts` is relative to the manifest."""

    spec: StreamSpec
    insts: str
    sha256: str


@dataclass(frozen=True)
class Overlay:
    """A built xclbin with its streams; `xclbin` is relative to the manifest."""

    name: str
    device: str
    columns: int
    kernel: str
    xclbin: str
    sha256: str
    streams: tuple[Stream, ...]

    def find_stream(self, spec: StreamSpec) -> Stream | None:
        """Return the stream of `spec`; None if it was not built."""
        return next((stream for stream in self.streams if stream.spec == spec), None)


@dataclass(frozen=True)
class Manifest:
    """What `overlays build` built, from sources of hash `source_sha256`, with which tools."""

    path: Path
    source_sha256: str
    toolchain: dict[str, str]
    overlays: tuple[Overlay, ...]

    def to_json(self) -> str:
        """Return the text of manifest.json."""
        content = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        del content["path"]
        for overlay, built in zip(content["overlays"], self.overlays, strict=True):
            for stream, source in zip(overlay["streams"], built.streams, strict=True):
                stream["arguments"] = _describe_arguments(source.spec)
        return json.dumps(content, indent=1) + "\n"


def find_manifest(explicit: Path | None = None) -> Path | None:
    """Return the manifest.json of --xclbins, of the environment's folder, or of `choose_folder`.

    None means that none is built, an ordinary state. OverlayError where a named folder has none.
    """
    variable = os.environ.get(XCLBINS_VARIABLE)
    named = explicit or (Path(variable) if variable else None)
    folder = named or choose_folder()
    if folder and (folder / "manifest.json").is_file():
        return folder / "manifest.json"
    if named:
        raise OverlayError(f"no manifest.json in {named}", hint=HINT_BUILD)
    return None


def choose_folder() -> Path | None:
    """Return where overlays are built: in the checkout, else with the user's data, if any."""
    checkout, data = find_shipped("xclbins"), find_data_folder()
    if checkout.is_dir():
        return checkout
    return data / "whisper-npu" / "xclbins" if data else None


def load_manifest(path: Path) -> Manifest:
    """Parse the manifest at `path`; OverlayError on another schema or a damaged file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise OverlayError(f"{path}: schema {version}, not {SCHEMA_VERSION}", hint=HINT_BUILD)
        overlays = tuple(_parse_overlay(row) for row in content.pop("overlays"))
        return Manifest(path=path, overlays=overlays, **content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise OverlayError(f"{path}: not an overlay manifest: {error!r}") from error


def verify(manifest: Manifest) -> None:
    """Check device, kernel, hashes, and the sources if they are known; OverlayError with why not.

    They are in the checkout of the manifest, or this program's, where it is in their folder.
    """
    folder = manifest.path.parent
    sources = find_shipped("mlir") if folder == choose_folder() else folder.parent / "mlir"
    if sources.is_dir() and hash_sources(sources) != manifest.source_sha256:
        raise OverlayError(f"{manifest.path}: built from other sources", hint=HINT_BUILD)
    for overlay in manifest.overlays:
        for what, found, wanted in (
            ("device", overlay.device, DEVICE),
            ("columns", overlay.columns, COLUMNS),
            ("kernel", overlay.kernel, KERNEL),
        ):
            if found != wanted:
                raise OverlayError(f"overlay {overlay.name}: {what} {found}, not {wanted}")
        _verify_file(manifest.path.parent / overlay.xclbin, overlay.sha256)
        for stream in overlay.streams:
            _verify_file(manifest.path.parent / stream.insts, stream.sha256)


def hash_sources(mlir: Path) -> str:
    """Hash what the overlay is made of: the files of `mlir` named in SOURCES, and `spec.py`."""
    files = sorted(file for pattern in SOURCES for file in mlir.glob(pattern) if file.is_file())
    return _hash_files((*files, Path(contract.__file__)))


def _hash_files(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _verify_file(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise OverlayError(f"{path}: missing", hint=HINT_BUILD)
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise OverlayError(f"{path}: not the file of the manifest", hint=HINT_BUILD)


def _describe_arguments(spec: StreamSpec) -> list[dict[str, Any]]:
    return [{**asdict(row), "shape": list(row.shape), "dtype": row.dtype} for row in spec.arguments]


def _parse_overlay(row: dict[str, Any]) -> Overlay:
    row = dict(row)
    streams = tuple(_parse_stream(stream) for stream in row.pop("streams"))
    return Overlay(streams=streams, **row)


def _parse_stream(row: dict[str, Any]) -> Stream:
    spec = StreamSpec(**row["spec"])
    if row["arguments"] != _describe_arguments(spec):
        raise OverlayError(f"stream {spec.name}: other arguments than this version passes")
    return Stream(spec, row["insts"], row["sha256"])
