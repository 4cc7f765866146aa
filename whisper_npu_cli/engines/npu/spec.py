"""The contract between the overlay's build (`mlir/`) and its host: operations and layouts.

An overlay is one xclbin; a stream is one instruction stream that runs one operation on it.
This file says which operations exist, which arguments they take in which order and layout, and
what they compute. `numerics.py` defines the same operations bit for bit in NumPy; both the
compiled kernels of `mlir/kernels` and the stand-in for pyxrt are held to it.

Every overlay carries a hash of this file, so any change here means that overlays are built anew.
Therefore nothing stands here that does not decide what an overlay computes.

Array: 4 columns x 4 rows of cores. A core works on tiles of 64 x 64; one pass of the array
makes 256 x 256 of the output, so matrices are padded to multiples of 256 (K alone: of 64).

Layouts of device memory (all of them "tile-linear": tile after tile, each in block order)

    a         (rows, cols) bf16: tiles by rows; a tile is 16 x 8 blocks of 4 x 8, by rows
    c         (rows, cols) f32: tiles by rows; a tile is 16 x 16 blocks of 4 x 4, by rows
    weights   (K + 64, N) bf16: for each tile of columns the bias tile, then its K/64 tiles; a
              tile is 8 x 16 blocks of 8 x 4, by rows. A bias tile begins with the 64 biases as
              little-endian f32 (256 bytes); the rest is zero.
    qkv       (queries + 2 * keys, heads * 64) bf16: the queries as `a`; then for each head, for
              each tile of keys: the tile of keys transposed (64 dimensions x 64 keys), then the
              tile of values (64 keys x 64 dimensions), both as 8 x 16 blocks of 8 x 4, by rows.
    samples   (rows, HOP_LENGTH) f32: one after the other.

Operations (all arithmetic in fp32 unless said otherwise, rounded to nearest even at every step;
bf16 products are exact in fp32; no denormal is flushed)

    gemm       out = epilogue(a @ w): an accumulator starts at the bias of its column and adds
               a[i, k] * w[k, j] for k = 0 .. K-1, in this order. The epilogue then applies
               GELU (result rounded to bf16), adds the residual, and stores. With `parts` > 1 A
               is stored as `parts` matrices (M, K / parts) one below the other, which the
               operation reads side by side: column k of A is column k % (K / parts) of part
               k // (K / parts). The second convolution reads its three taps this way. With the
               epilogue `qkv` the left third of the columns are queries, then come the keys.
    attention  out[:, head] = softmax(q @ k.T) @ v per head of 64 columns, over the first `valid`
               keys. The scores are taken to base 2: 1/sqrt(64) * log2(e) belongs into the query
               weights. Keys in blocks of 64, running maximum rounded up to an integer, so that
               rescaling is exact; probabilities in bf16, sums and output in fp32.
    layernorm  out = (x - mean) / sqrt(variance + 1e-5) over the first `valid` columns of a row;
               scale and shift belong into the next weights. What it writes to the columns from
               `valid` on is finite and without meaning: the next weights have zero rows there.
    spectrum   out = power of the frames' transforms. Row t of the frames is the `k` samples from
               t * HOP_LENGTH on. Each 32 samples of a frame are split in 32 high and 32 low bf16
               parts, which come twice: so column 128e + 64h + 32p + s of A is part p (0: high) of
               sample 32e + s, for the rows of the weights that hold high (h = 0) or low parts of
               the basis. Every 64 columns of the product are 32 real parts and the 32 imaginary
               parts beside them; their squares are added, and the power stored as 32 high and 32
               low bf16 parts.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_npu_cli.dims import HOP_LENGTH
from whisper_npu_cli.errors import OverlayError

DEVICE = "npu1"  # Phoenix and Hawk Point: 4 usable columns; binaries of npu2 never fit
COLUMNS = 4
KERNEL = "MLIR_AIE"  # the name that aiecc gives to the kernel of every xclbin
TILE = 64
PASS = COLUMNS * TILE  # 256 rows or columns of the output in one pass of the array
A_BLOCK = (4, 8)  # rows x columns: operand shapes of the native bf16 `aie::mmul` 4 x 8 x 4
B_BLOCK = (8, 4)
C_BLOCK = (4, 4)
UNITS = 8  # layernorm: stretches of 8 rows in a tile, 1 KB of bf16 each
HALF = TILE // 2  # samples of a frame, or frequencies, whose two bf16 parts fill a tile's row
SPLITS = 4  # rows of the spectrum's weights for a sample: its two parts by the basis' two
MAX_N = 16_384  # a shim step has 20 bits of 4-byte words, and a row of f32 tiles is N * 64 of them
MAX_K = 16_320  # K + 64 of one column of tiles in one descriptor: at most 1023 runs of 1 KiB / 4


@dataclass(frozen=True)
class Epilogue:
    """What a gemm does with a finished accumulator, in this order."""

    gelu: bool
    residual: bool
    layout: str  # a: next operand; c: fp32; qkv: the three operands of attention


EPILOGUES = {
    "f32": Epilogue(gelu=False, residual=False, layout="c"),
    "bf16": Epilogue(gelu=False, residual=False, layout="a"),
    "gelu": Epilogue(gelu=True, residual=False, layout="a"),
    "residual": Epilogue(gelu=False, residual=True, layout="c"),
    "gelu_residual": Epilogue(gelu=True, residual=True, layout="c"),
    "qkv": Epilogue(gelu=False, residual=False, layout="qkv"),
}
ITEMSIZE = {"bf16": 2, "f32": 4}
LAYOUT_DTYPE = {"a": "bf16", "c": "f32", "weights": "bf16", "qkv": "bf16", "samples": "f32"}


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
    layernorm: m rows of n columns, k = 0. spectrum: m frames of k samples, n / 2 frequencies.
    `valid` keys (whole blocks, padded by less than a tile) or columns (whole tiles) count, the rest
    is padding. OverlayError for any other shape.
    """

    op: str
    m: int
    k: int
    n: int
    epilogue: str = ""
    valid: int = 0
    parts: int = 1

    def __post_init__(self) -> None:
        if not (self._fits_array and self._fits_operation):
            raise OverlayError(f"stream {self.name}: no such operation, or not at this shape")

    @property
    def _fits_array(self) -> bool:
        return self.m > 0 and self.m % PASS == 0 and 0 < self.n <= MAX_N and self.n % PASS == 0

    @property
    def _fits_operation(self) -> bool:
        if self.op == "gemm":
            is_whole = self.parts > 0 and self.k % (TILE * self.parts) == 0
            is_known = self.epilogue in EPILOGUES and self.n % (self.n_outputs * PASS) == 0
            return is_known and is_whole and 0 < self.k <= MAX_K and not self.valid
        if self.epilogue or self.parts != 1:
            return False
        if self.op == "spectrum":
            return self.k > 0 and self.k % HALF == 0 and SPLITS * self.k <= MAX_K and not self.valid
        if self.valid <= 0:
            return False
        if self.op == "attention":
            is_whole = self.k % TILE == 0 and self.valid % C_BLOCK[1] == 0
            return is_whole and self.k - TILE < self.valid <= self.k
        is_whole = self.k == 0 and self.valid % TILE == 0
        return self.op == "layernorm" and is_whole and self.valid <= self.n

    @property
    def n_outputs(self) -> int:
        """Results of a gemm side by side."""
        return 3 if self.epilogue == "qkv" else 1

    @property
    def n_passes(self) -> int:
        """How often layernorm reads its rows: twice where no whole ones of 8 fill an element."""
        return 1 if UNITS % (self.n // PASS) == 0 else 2

    @property
    def name(self) -> str:
        """A file name that tells all fields, for example gemm_1536x512x2048_gelu."""
        parts = f"_p{self.parts}" if self.parts > 1 else ""
        detail = f"_{self.epilogue}" if self.epilogue else f"_v{self.valid}" if self.valid else ""
        return f"{self.op}_{self.m}x{self.k}x{self.n}{detail}{parts}"

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """Buffers in the order in which the kernel takes them, the written one last."""
        if self.op == "layernorm":
            return (Argument("x", (self.m, self.n), "c"), Argument("out", (self.m, self.n), "a"))
        if self.op == "attention":
            operands = Argument("qkv", (self.m + 2 * self.k, self.n), "qkv")
            return (operands, Argument("out", (self.m, self.n), "a"))
        if self.op == "spectrum":
            rows = self.m + -(-self.k // HOP_LENGTH) - 1  # the last frame reaches beyond its hop
            samples = Argument("samples", (rows, HOP_LENGTH), "samples")
            weights = Argument("weights", (SPLITS * self.k + TILE, self.n), "weights")
            return (samples, weights, Argument("out", (self.m, self.n), "a"))
        epilogue = EPILOGUES[self.epilogue]
        a = Argument("a", (self.parts * self.m, self.k // self.parts), "a")
        weights = Argument("weights", (self.k + TILE, self.n), "weights")
        residual = (Argument("residual", (self.m, self.n), "c"),) if epilogue.residual else ()
        shape = (self.n_outputs * self.m, self.n // self.n_outputs)
        return (a, weights, *residual, Argument("out", shape, epilogue.layout))
