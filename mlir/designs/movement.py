"""Host movement: which words of which argument pass which shim tile, block by block.

Every matrix is tile-linear in device memory (`spec.py`), so nearly every tap is one line.
"""

from __future__ import annotations

from collections.abc import Iterator

from aie.helpers.taplib import TensorAccessPattern

from whisper_npu_cli.dims import HOP_LENGTH
from whisper_npu_cli.engines.npu.spec import COLUMNS, EPILOGUES, HALF, PASS, TILE, StreamSpec

ROWS = 4  # rows of cores
WORDS = TILE * TILE // 2  # 4-byte words of a bf16 tile, or of half an fp32 tile: 8 KB
RUN = 512  # words that a tap moves at a time: its innermost size must stay below 1024

Tap = tuple[str, TensorAccessPattern]  # role of an argument, order of its words


class Movement:
    """The taps of one stream."""

    def __init__(self, spec: StreamSpec) -> None:
        self.spec = spec
        self.sizes = {argument.role: argument.size_bytes // 4 for argument in spec.arguments}
        self.across = spec.n // spec.n_outputs // TILE  # tiles in a row of an output
        self.n_queries = spec.m // TILE * self.across  # tiles of queries, before keys and values

    def list_blocks(self) -> Iterator[tuple[int, int]]:
        """Yield the output blocks in the order in which the cores make them."""
        spec = self.spec
        columns = 1 if spec.op == "layernorm" else spec.n // spec.n_outputs // PASS
        for output in range(spec.n_outputs):
            for i in range(spec.m // PASS):
                for j in range(columns):
                    yield i, output * columns + j

    def feed_a(self, i: int, j: int, row: int) -> list[Tap]:
        """Return what row `row` of cores is sent for block (i, j)."""
        spec, at = self.spec, ROWS * i + row
        if spec.op == "attention":
            return [self.make_line("qkv", at * self.across + COLUMNS * j, COLUMNS)]
        if spec.op == "layernorm":
            first, counted = 2 * at * self.across, 2 * spec.valid // TILE
            return [
                self.make_line("x", first, counted),
                self.make_line("x", first, 2 * self.across),
            ]
        if spec.op == "spectrum":  # overlapping frames, cut into stretches that fill an element
            sizes, strides = [1, spec.k // HALF, TILE, HALF], [0, HALF, HOP_LENGTH, 1]
            return [self.make_tap("samples", at * TILE * HOP_LENGTH // WORDS, sizes, strides)]
        steps = spec.k // spec.parts // TILE
        rows = spec.m // TILE * steps * WORDS  # words of a part
        sizes = [1, spec.parts, steps * WORDS // RUN, RUN]
        if spec.parts == 1:
            taps = [self.make_line("a", at * steps, steps)]
        else:
            taps = [self.make_tap("a", at * steps, sizes, [0, rows, RUN, 1])]
        if EPILOGUES[spec.epilogue].residual:  # the upper halves of the row's tiles
            first, runs = 2 * (at * self.across + COLUMNS * j), WORDS // RUN
            sizes, strides = [1, COLUMNS, runs, RUN], [0, 2 * WORDS, RUN, 1]
            taps.append(self.make_tap("residual", first, sizes, strides))
        return taps

    def feed_b(self, i: int, j: int, column: int) -> list[Tap]:
        """Return what column `column` of cores is sent for block (i, j)."""
        at, across = COLUMNS * j + column, self.across
        if self.spec.op == "attention":
            pairs = 2 * self.spec.k // TILE
            return [self.make_line("qkv", self.n_queries + at * pairs, pairs)]
        if self.spec.op == "layernorm":
            return [self.make_line("x", 0, 1)]
        steps = self.sizes["weights"] // WORDS // (self.spec.n // TILE)
        taps = [self.make_line("weights", at * steps, steps)]
        if self.spec.op == "gemm" and EPILOGUES[self.spec.epilogue].residual:  # the lower halves
            first, runs = 2 * (ROWS * i * across + at) + 1, WORDS // RUN
            sizes, strides = [1, ROWS, runs, RUN], [0, 2 * across * WORDS, RUN, 1]
            taps.append(self.make_tap("residual", first, sizes, strides))
        return taps

    def collect_c(self, i: int, j: int, column: int) -> Tap:
        """Return where the four tiles of column `column` of block (i, j) go."""
        at, across = COLUMNS * j + column, self.across
        run = [WORDS // RUN, RUN], [RUN, 1]
        if self.spec.op == "layernorm":
            sizes, strides = [across // COLUMNS, ROWS], [COLUMNS * WORDS, across * WORDS]
            return self.make_tap(
                "out", ROWS * i * across + column, sizes + run[0], strides + run[1]
            )
        epilogue = EPILOGUES.get(self.spec.epilogue, EPILOGUES["bf16"])
        if epilogue.layout == "c":  # the upper halves of the four tiles, then the lower
            sizes, strides = [2, ROWS], [WORDS, 2 * across * WORDS]
            return self.make_tap(
                "out", 2 * (ROWS * i * across + at), sizes + run[0], strides + run[1]
            )
        output, at = divmod(at, across)
        first, stride = ROWS * i * across + at, across * WORDS
        if output:
            pairs = 2 * self.spec.m // TILE  # keys and values alternate down a head
            first = self.n_queries + at * pairs + 2 * ROWS * i + output - 1
            stride = 2 * WORDS
        return self.make_tap("out", first, [1, ROWS, *run[0]], [0, stride, *run[1]])

    def make_line(self, role: str, first: int, n: int) -> Tap:
        """Return `n` elements of 8 KB in a row, from element `first` on."""
        return self.make_tap(role, first, [1, 1, 1, n * WORDS], [0, 0, 0, 1])

    def make_tap(self, role: str, first: int, sizes: list[int], strides: list[int]) -> Tap:
        """Return a pattern that begins at element `first` of an argument."""
        total = self.sizes[role]
        return role, TensorAccessPattern([total], first * WORDS, sizes, strides)
