"""The contract between the overlay's build (`mlir/`) and its host (`npu/`): its manifest.

An overlay is one xclbin; a stream is one instruction stream that runs one operation on it.
This file says which operations exist, which arguments they take in which order and layout, and
what they compute. It locates, parses and verifies `xclbins/manifest.json`. It knows neither
pyxrt nor NumPy. `numerics.py` defines the same operations bit for bit in NumPy; both the
compiled kernels of `mlir/kernels` and the stand-in for pyxrt are held to it.

Array: 4 columns x 4 rows of cores. A core works on tiles of 64 x 64; one pass of the array
makes 256 x 256 of the output, so matrices are padded to multiples of 256 (K alone: of 64).

Layouts of device memory (all of them "tile-linear": tile after tile, each in block order)

    a         (rows, cols) bf16: tiles by rows; a tile is 16 x 8 blocks of 4 x 8, by rows
    c         (rows, cols) f32: tiles by rows; a tile is 16 x 16 blocks of 4 x 4, by rows
    weights   (K + 64, N) bf16: for each tile of columns the bias tile, then its K/64 tiles; a
              tile is 8 x 16 blocks of 8 x 4, by rows. A bias tile begins with the 64 biases as
              little-endian f32 (256 bytes); the rest is zero.
    kv        (2 * keys, heads * 64) bf16: for each head, for each tile of keys: the tile of keys
              transposed (64 dimensions x 64 keys), then the tile of values (64 keys x 64
              dimensions), both as 8 x 16 blocks of 8 x 4, by rows.

Operations (all arithmetic in fp32 unless said otherwise, rounded to nearest even at every step;
bf16 products are exact in fp32; no denormal is flushed)

    gemm       out = epilogue(a @ w): an accumulator starts at the bias of its column and adds
               a[i, k] * w[k, j] for k = 0 .. K-1, in this order. The epilogue then applies
               GELU (result rounded to bf16), adds the residual, and stores. With `parts` > 1 A
               is stored as `parts` matrices (M, K / parts) one below the other, which the
               operation reads side by side: column k of A is column k % (K / parts) of part
               k // (K / parts). The second convolution reads its three taps this way.
    attention  out[:, head] = softmax(q @ k.T) @ v per head of 64 columns, over the first `valid`
               keys. The scores are taken to base 2: 1/sqrt(64) * log2(e) belongs into the query
               weights. Keys in blocks of 64, running maximum rounded up to an integer, so that
               rescaling is exact; probabilities in bf16, sums and output in fp32.
    layernorm  out = (x - mean) / sqrt(variance + 1e-5) over the first `valid` columns of a row;
               scale and shift belong into the next weights. What it writes to the columns from
               `valid` on is finite and without meaning: the next weights have zero rows there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from whisper_npu_cli.errors import OverlayError

SCHEMA_VERSION = 1
DEVICE = "npu1"  # Phoenix and Hawk Point: 4 usable columns; binaries of npu2 never fit
COLUMNS = 4
KERNEL = "MLIR_AIE"  # the name that aiecc gives to the kernel of every xclbin
TILE = 64
PASS = COLUMNS * TILE  # 256 rows or columns of the output in one pass of the array
A_BLOCK = (4, 8)  # rows x columns: operand shapes of the native bf16 `aie::mmul` 4 x 8 x 4
B_BLOCK = (8, 4)
C_BLOCK = (4, 4)
MAX_N = 16_384  # a shim step has 20 bits of 4-byte words, and a row of f32 tiles is N * 64 of them
MAX_K = 16_320  # K + 64 of one column of tiles in one descriptor: at most 1023 runs of 1 KiB / 4
ENVIRONMENT = "WHISPER_NPU_XCLBINS"
SOURCES = ("designs/*.py", "kernels/*", "build.py", "overlays.toml", "toolchain.lock")
HINT_BUILD = "build the overlay with `make xclbins`; docs/npu.md tells how"


@dataclass(frozen=True)
class Epilogue:
    """What a gemm does with a finished accumulator, in this order."""

    gelu: bool
    residual: bool
    layout: str  # a: next operand; c: fp32; kv: keys transposed, or values


EPILOGUES = {
    "f32": Epilogue(gelu=False, residual=False, layout="c"),
    "bf16": Epilogue(gelu=False, residual=False, layout="a"),
    "gelu": Epilogue(gelu=True, residual=False, layout="a"),
    "residual": Epilogue(gelu=False, residual=True, layout="c"),
    "gelu_residual": Epilogue(gelu=True, residual=True, layout="c"),
    "key": Epilogue(gelu=False, residual=False, layout="kv"),
    "value": Epilogue(gelu=False, residual=False, layout="kv"),
}
ITEMSIZE = {"bf16": 2, "f32": 4}
LAYOUT_DTYPE = {"a": "bf16", "c": "f32", "weights": "bf16", "kv": "bf16"}


@dataclass(frozen=True)
class Argument:
    """One device buffer of a stream; `shape` is padded."""

    role: str
    shape: tuple[int, int]
    layout: str

    @property
    def dtype(self) -> str:
        """Element type: bf16 or f32."""
        return LAYOUT_DTYPE[self.layout]

    @property
    def size_bytes(self) -> int:
        """Bytes of the buffer."""
        return self.shape[0] * self.shape[1] * ITEMSIZE[self.dtype]


@dataclass(frozen=True)
class StreamSpec:
    """One operation at one shape. Equal specs share one instruction stream.

    gemm: (m, k) @ (k, n). attention: m queries over k keys, n = heads * 64 columns.
    layernorm: m rows of n columns, k unused. `valid` keys or columns count, the rest is padding.
    """

    op: str
    m: int
    k: int
    n: int
    epilogue: str = ""
    valid: int = 0
    parts: int = 1

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise OverlayError(f"stream {self.name}: {problem}")

    def _problem(self) -> str:
        if self.op not in ("gemm", "attention", "layernorm"):
            return f"unknown operation {self.op!r}"
        if self.m <= 0 or self.n <= 0 or self.m % PASS or self.n % PASS:
            return f"m and n must be positive multiples of {PASS}"
        if self.n > MAX_N:
            return f"n is above {MAX_N}; split it into several streams"
        return self._gemm_problem() if self.op == "gemm" else self._rows_problem()

    def _gemm_problem(self) -> str:
        if self.epilogue not in EPILOGUES:
            return f"unknown epilogue {self.epilogue!r}"
        if self.parts < 1 or not 0 < self.k <= MAX_K or self.k % (TILE * self.parts):
            return f"k must be a multiple of {TILE} in each part, and at most {MAX_K}"
        return "valid is not used" if self.valid else ""

    def _rows_problem(self) -> str:
        if self.epilogue or self.parts != 1:
            return "epilogue and parts belong to gemm"
        limit = self.k if self.op == "attention" else self.n
        if not 0 < self.valid <= limit:
            return f"valid must be 1 to {limit}"
        if self.op == "attention":
            whole = self.k > 0 and self.k % TILE == 0 and self.valid > self.k - TILE
            fits = whole and self.valid % C_BLOCK[1] == 0
            return "" if fits else "keys: padded by less than a tile, valid in blocks of 4"
        return "layernorm has no k, and valid is a multiple of 64" * (
            self.k != 0 or self.valid % TILE != 0
        )

    @property
    def name(self) -> str:
        """A file name that says everything, for example gemm_1536x512x2048_gelu."""
        parts = f"_p{self.parts}" if self.parts > 1 else ""
        detail = f"_{self.epilogue}" if self.epilogue else f"_v{self.valid}"
        return f"{self.op}_{self.m}x{self.k}x{self.n}{detail}{parts}"

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """Buffers in the order in which the kernel takes them, the written one last."""
        keys_values = Argument("kv", (2 * (self.k or self.m), self.n), "kv")
        if self.op == "layernorm":
            return (Argument("x", (self.m, self.n), "c"), Argument("out", (self.m, self.n), "a"))
        if self.op == "attention":
            shape = (self.m, self.n)
            return (Argument("q", shape, "a"), keys_values, Argument("out", shape, "a"))
        epilogue = EPILOGUES[self.epilogue]
        a = Argument("a", (self.parts * self.m, self.k // self.parts), "a")
        weights = Argument("weights", (self.k + TILE, self.n), "weights")
        residual = (Argument("residual", (self.m, self.n), "c"),) if epilogue.residual else ()
        rows = 2 * self.m if epilogue.layout == "kv" else self.m
        return (a, weights, *residual, Argument("out", (rows, self.n), epilogue.layout))


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

    def stream(self, spec: StreamSpec) -> Stream:
        """Return the stream of `spec`; OverlayError if it was not built."""
        for stream in self.streams:
            if stream.spec == spec:
                return stream
        raise OverlayError(f"overlay {self.name} has no stream {spec.name}", hint=HINT_BUILD)


@dataclass(frozen=True)
class Manifest:
    """What `make xclbins` built, from sources of hash `source_sha256`, with which tools."""

    path: Path
    source_sha256: str
    toolchain: dict[str, str]
    overlays: tuple[Overlay, ...]

    def overlay(self, name: str) -> Overlay:
        """Return the overlay called `name`; OverlayError if it was not built."""
        for overlay in self.overlays:
            if overlay.name == name:
                return overlay
        raise OverlayError(f"{self.path}: no overlay {name!r}", hint=HINT_BUILD)

    def to_json(self) -> str:
        """Return the text of manifest.json."""
        content = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        del content["path"]
        for overlay, built in zip(content["overlays"], self.overlays, strict=True):
            for stream, of in zip(overlay["streams"], built.streams, strict=True):
                stream["arguments"] = _argument_rows(of.spec)
        return json.dumps(content, indent=1) + "\n"


def find_manifest(explicit: Path | None = None) -> Path | None:
    """Return the first manifest.json of --xclbins, environment, package, checkout.

    None says "not built", an ordinary state. OverlayError where a named folder has none.
    """
    package = Path(__file__).resolve().parents[2]
    named = explicit or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    folders = [named] if named else [package / "xclbins", package.parent / "xclbins"]
    for folder in folders:
        if (folder / "manifest.json").is_file():
            return folder / "manifest.json"
    if named:
        raise OverlayError(f"no manifest.json in {named}", hint=HINT_BUILD)
    return None


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
    """Check device, kernel, hashes, and in a checkout the sources; OverlayError with the reason."""
    checkout = manifest.path.parent.parent / "mlir"
    if checkout.is_dir() and source_sha256(checkout) != manifest.source_sha256:
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


def source_sha256(mlir: Path) -> str:
    """Hash what the overlay is made of: the files of `mlir` named in SOURCES, and this one."""
    files = sorted(file for pattern in SOURCES for file in mlir.glob(pattern) if file.is_file())
    return _sha256((*files, Path(__file__)))


def _sha256(files: Iterable[Path]) -> str:
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


def _argument_rows(spec: StreamSpec) -> list[dict[str, Any]]:
    return [{**asdict(row), "shape": list(row.shape), "dtype": row.dtype} for row in spec.arguments]


def _parse_overlay(row: dict[str, Any]) -> Overlay:
    row = dict(row)
    streams = tuple(_parse_stream(stream) for stream in row.pop("streams"))
    return Overlay(streams=streams, **row)


def _parse_stream(row: dict[str, Any]) -> Stream:
    spec = StreamSpec(**row["spec"])
    if row["arguments"] != _argument_rows(spec):
        raise OverlayError(f"stream {spec.name}: other arguments than this version passes")
    return Stream(spec, row["insts"], row["sha256"])
