"""The overlay manifest: what is built is parsed back, and whatever does not match is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.places import ROOT
from whisper_npu_cli.engines.npu import manifest as manifests
from whisper_npu_cli.engines.npu import spec
from whisper_npu_cli.engines.npu.manifest import Manifest, Overlay, Stream
from whisper_npu_cli.engines.npu.spec import StreamSpec
from whisper_npu_cli.environment import XCLBINS_VARIABLE
from whisper_npu_cli.errors import OverlayError

MLIR = ROOT / "mlir"
SPECS = (
    StreamSpec("gemm", 1536, 512, 2048, "gelu"),
    StreamSpec("gemm", 1536, 1536, 512, "gelu_residual", parts=3),
    StreamSpec("attention", 1536, 1536, 512, valid=1500),
    StreamSpec("layernorm", 1536, 0, 512, valid=384),
)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A manifest with its files, as `make xclbins` leaves it."""
    streams = []
    for one in SPECS:
        (tmp_path / f"{one.name}.bin").write_bytes(one.name.encode())
        digest = hashlib.sha256(one.name.encode()).hexdigest()
        streams.append(Stream(one, f"{one.name}.bin", digest))
    (tmp_path / "u.xclbin").write_bytes(b"xclbin2")
    built = Overlay(
        name="whisper",
        device=spec.DEVICE,
        columns=spec.COLUMNS,
        kernel=spec.KERNEL,
        xclbin="u.xclbin",
        sha256=hashlib.sha256(b"xclbin2").hexdigest(),
        streams=tuple(streams),
    )
    made = Manifest(tmp_path / "manifest.json", "0" * 64, {"mlir-aie": "1.3.4"}, (built,))
    made.path.write_text(made.to_json())
    return made


def test_round_trip(manifest: Manifest) -> None:
    loaded = manifests.load_manifest(manifest.path)
    assert loaded == manifest
    manifests.verify(loaded)
    assert loaded.overlays[0].find_stream(SPECS[0]).insts == f"{SPECS[0].name}.bin"


def test_absent_stream_is_not_found(manifest: Manifest) -> None:
    assert manifest.overlays[0].find_stream(StreamSpec("gemm", 256, 64, 256, "f32")) is None


@pytest.mark.parametrize(
    ("field", "value"), [("device", "npu2"), ("columns", 8), ("kernel", "OTHER")]
)
def test_wrong_overlay_is_refused(manifest: Manifest, field: str, value: object) -> None:
    wrong = replace(manifest.overlays[0], **{field: value})
    with pytest.raises(OverlayError, match=f"{field} {value}, not"):
        manifests.verify(replace(manifest, overlays=(wrong,)))


@pytest.mark.parametrize("file", ["u.xclbin", f"{SPECS[2].name}.bin"])
def test_changed_or_missing_file_is_refused(manifest: Manifest, file: str) -> None:
    (manifest.path.parent / file).write_bytes(b"changed")
    with pytest.raises(OverlayError, match=f"{file}: not the file"):
        manifests.verify(manifest)
    (manifest.path.parent / file).unlink()
    with pytest.raises(OverlayError, match=f"{file}: missing"):
        manifests.verify(manifest)


@pytest.mark.parametrize(("module", "matters"), [(spec, True), (manifests, False)])
def test_the_sources_are_the_contract_and_not_its_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, matters: bool
) -> None:
    copy = tmp_path / Path(str(module.__file__)).name
    copy.write_text(Path(str(module.__file__)).read_text())
    monkeypatch.setattr(module, "__file__", str(copy))
    before = manifests.hash_sources(MLIR)
    copy.write_text(copy.read_text() + "# another line")
    assert (manifests.hash_sources(MLIR) != before) == matters


def test_stale_sources_are_refused(manifest: Manifest) -> None:
    root = manifest.path.parent / "xclbins"
    root.mkdir()
    (manifest.path.parent / "mlir" / "kernels").mkdir(parents=True)
    (manifest.path.parent / "mlir" / "kernels" / "gemm.cc").write_text("// another kernel\n")
    with pytest.raises(OverlayError, match="built from other sources"):
        manifests.verify(replace(manifest, path=root / "manifest.json"))


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema_version": 1}', '{"schema_version": 2}'])
def test_damaged_manifest_is_refused(tmp_path: Path, damage: str) -> None:
    (tmp_path / "manifest.json").write_text(damage)
    with pytest.raises(OverlayError, match=r"manifest\.json"):
        manifests.load_manifest(tmp_path / "manifest.json")


def test_other_argument_order_is_refused(manifest: Manifest) -> None:
    content = json.loads(manifest.to_json())
    content["overlays"][0]["streams"][0]["arguments"].reverse()
    manifest.path.write_text(json.dumps(content))
    with pytest.raises(OverlayError, match="other arguments"):
        manifests.load_manifest(manifest.path)


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("named", "environment"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    monkeypatch.setenv(XCLBINS_VARIABLE, str(tmp_path / "environment"))
    assert manifests.find_manifest(tmp_path / "named") == tmp_path / "named" / "manifest.json"
    assert manifests.find_manifest() == tmp_path / "environment" / "manifest.json"
    with pytest.raises(OverlayError, match="no manifest"):
        manifests.find_manifest(tmp_path / "absent")
