"""The overlay manifest: what is built is parsed back, and whatever does not match is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from whisper_npu_cli.engines.npu import manifest as overlay
from whisper_npu_cli.engines.npu.manifest import Manifest, Overlay, Stream, StreamSpec
from whisper_npu_cli.errors import OverlayError

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
    for spec in SPECS:
        (tmp_path / f"{spec.name}.bin").write_bytes(spec.name.encode())
        digest = hashlib.sha256(spec.name.encode()).hexdigest()
        streams.append(Stream(spec, f"{spec.name}.bin", digest))
    (tmp_path / "u.xclbin").write_bytes(b"xclbin2")
    built = Overlay(
        name="whisper",
        device=overlay.DEVICE,
        columns=overlay.COLUMNS,
        kernel=overlay.KERNEL,
        xclbin="u.xclbin",
        sha256=hashlib.sha256(b"xclbin2").hexdigest(),
        streams=tuple(streams),
    )
    made = Manifest(tmp_path / "manifest.json", "0" * 64, {"mlir-aie": "1.3.4"}, (built,))
    made.path.write_text(made.to_json())
    return made


def test_round_trip(manifest: Manifest) -> None:
    loaded = overlay.load_manifest(manifest.path)
    assert loaded == manifest
    overlay.verify(loaded)
    assert loaded.overlay("whisper").stream(SPECS[0]).insts == f"{SPECS[0].name}.bin"


def test_absent_stream_and_overlay_are_named(manifest: Manifest) -> None:
    with pytest.raises(OverlayError, match="no overlay 'other'"):
        manifest.overlay("other")
    with pytest.raises(OverlayError, match="no stream gemm_256x64x256_f32"):
        manifest.overlays[0].stream(StreamSpec("gemm", 256, 64, 256, "f32"))


@pytest.mark.parametrize(
    ("field", "value"), [("device", "npu2"), ("columns", 8), ("kernel", "OTHER")]
)
def test_wrong_overlay_is_refused(manifest: Manifest, field: str, value: object) -> None:
    wrong = replace(manifest.overlays[0], **{field: value})
    with pytest.raises(OverlayError, match=f"{field} {value}, not"):
        overlay.verify(replace(manifest, overlays=(wrong,)))


@pytest.mark.parametrize("file", ["u.xclbin", f"{SPECS[2].name}.bin"])
def test_changed_or_missing_file_is_refused(manifest: Manifest, file: str) -> None:
    (manifest.path.parent / file).write_bytes(b"changed")
    with pytest.raises(OverlayError, match=f"{file}: not the file"):
        overlay.verify(manifest)
    (manifest.path.parent / file).unlink()
    with pytest.raises(OverlayError, match=f"{file}: missing"):
        overlay.verify(manifest)


def test_stale_sources_are_refused(manifest: Manifest) -> None:
    root = manifest.path.parent / "xclbins"
    root.mkdir()
    (manifest.path.parent / "mlir" / "kernels").mkdir(parents=True)
    (manifest.path.parent / "mlir" / "kernels" / "gemm.cc").write_text("// another kernel\n")
    with pytest.raises(OverlayError, match="built from other sources"):
        overlay.verify(replace(manifest, path=root / "manifest.json"))


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema_version": 1}', '{"schema_version": 2}'])
def test_damaged_manifest_is_refused(tmp_path: Path, damage: str) -> None:
    (tmp_path / "manifest.json").write_text(damage)
    with pytest.raises(OverlayError, match=r"manifest\.json"):
        overlay.load_manifest(tmp_path / "manifest.json")


def test_other_argument_order_is_refused(manifest: Manifest) -> None:
    content = json.loads(manifest.to_json())
    content["overlays"][0]["streams"][0]["arguments"].reverse()
    manifest.path.write_text(json.dumps(content))
    with pytest.raises(OverlayError, match="other arguments"):
        overlay.load_manifest(manifest.path)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"op": "conv", "m": 256, "k": 64, "n": 256}, "unknown operation"),
        ({"op": "gemm", "m": 100, "k": 64, "n": 256, "epilogue": "f32"}, "multiples of 256"),
        ({"op": "gemm", "m": 256, "k": 65, "n": 256, "epilogue": "f32"}, "multiple of 64"),
        ({"op": "gemm", "m": 256, "k": 64, "n": 32768, "epilogue": "f32"}, "above 16384"),
        ({"op": "gemm", "m": 256, "k": 64, "n": 256, "epilogue": "tanh"}, "unknown epilogue"),
        ({"op": "attention", "m": 256, "k": 256, "n": 256, "valid": 150}, "less than a tile"),
        ({"op": "layernorm", "m": 256, "k": 0, "n": 256, "valid": 300}, "1 to 256"),
    ],
)
def test_illegal_shape_is_refused(spec: dict[str, object], reason: str) -> None:
    with pytest.raises(OverlayError, match=reason):
        StreamSpec(**spec)  # type: ignore[arg-type]


def test_arguments_come_in_kernel_order_with_their_sizes() -> None:
    rows = SPECS[1].arguments
    assert [row.role for row in rows] == ["a", "weights", "residual", "out"]
    assert rows[0].shape == (3 * 1536, 512)
    assert [row.size_bytes for row in rows] == [4718592, 1638400, 3145728, 3145728]
    assert [row.role for row in SPECS[2].arguments] == ["q", "kv", "out"]


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("named", "environment"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    monkeypatch.setenv(overlay.ENVIRONMENT, str(tmp_path / "environment"))
    assert overlay.find_manifest(tmp_path / "named") == tmp_path / "named" / "manifest.json"
    assert overlay.find_manifest() == tmp_path / "environment" / "manifest.json"
    with pytest.raises(OverlayError, match="no manifest"):
        overlay.find_manifest(tmp_path / "absent")
