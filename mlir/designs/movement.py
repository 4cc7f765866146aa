"""Host movement: which words of which argument pass which shim tile, block by block.

Every matrix is tile-linear in device memory (`spec.py`), so nearly every tap is one line.
"""

from __future__ import annotations

from collections.abc import Iterator

from aie.helpers.taplib import TensorAccessPattern

from whisper_npu_cli.dims import HOP_LENGTH
from whisper_npu_cli.engines.npu.spec import COLUMNS, EPILOGUES, HALF, PASS, TILE, UNITS, StreamSpec

ROWS = 4  # rows of cores
WORDS = TILE * TILE // 2  # 4-byte words of a bf16 tile, or of half an fp32 tile: 8 KB
RUN = 512  # words that a tap moves at a time: its innermost size must stay below 1024

Tap = tuple[str, TensorAccessPattern]  # role of an argument, order of its words


def count_results(spec: StreamSpec) -> int:
    """Return the elements of output in a layernorm's block; a shim's queue has room for two."""
    groups = spec.n // PASS
    return min(groups, 2) if spec.n_passes == 1 else groups


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
        columns = spec.n // spec.n_outputs // PASS
        if spec.op == "layernorm":
            columns //= count_results(spec)
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
            return self._feed_rows(2 * at * self.across, j)
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

    def collect_c(self, i: int, j: int, column: int) -> list[Tap]:
        """Return where the four tiles of column `column` of block (i, j) go."""
        at, across = COLUMNS * j + column, self.across
        run = [WORDS // RUN, RUN], [RUN, 1]
        if self.spec.op == "layernorm":
            first, groups = ROWS * i * across + column, across // COLUMNS
            if self.spec.n_passes == 2:
                sizes, strides = [groups, ROWS], [COLUMNS * WORDS, across * WORDS]
                return [self.make_tap("out", first, sizes + run[0], strides + run[1])]
            units, unit = UNITS // groups, WORDS // UNITS
            sizes, strides = [ROWS, units, groups, unit], [across * WORDS, unit, COLUMNS * WORDS, 1]
            n = count_results(self.spec)
            skips = [at * units * unit for at in range(n * j, n * j + n)]
            return [self.make_tap("out", first, sizes, strides, skip) for skip in skips]
        epilogue = EPILOGUES.get(self.spec.epilogue, EPILOGUES["bf16"])
        if epilogue.layout == "c":  # the upper halves of the four tiles, then the lower
            sizes, strides = [2, ROWS], [WORDS, 2 * across * WORDS]
            first = 2 * (ROWS * i * across + at)
            return [self.make_tap("out", first, sizes + run[0], strides + run[1])]
        output, at = divmod(at, across)
        first, stride = ROWS * i * across + at, across * WORDS
        if output:
            pairs = 2 * self.spec.m // TILE  # keys and values alternate down a head
            first = self.n_queries + at * pairs + 2 * ROWS * i + output - 1
            stride = 2 * WORDS
        return [self.make_tap("out", first, [1, ROWS, *run[0]], [0, stride, *run[1]])]

    def _feed_rows(self, first: int, j: int) -> list[Tap]:
        """Return rows of `x` by 8, of which an element holds four tiles' share."""
        groups, unit, tile = self.across // COLUMNS, 2 * WORDS // UNITS, 2 * WORDS
        by_unit, by_group = (UNITS, unit), (groups, COLUMNS * tile)
        if self.spec.n_passes == 1:
            by_unit = UNITS // groups * count_results(self.spec), unit
            return [self._take_rows(first, by_unit, by_group, skip=j * by_unit[0] * unit)]
        return [
            self._take_rows(first, by_unit, by_group),
            self._take_rows(first, by_group, by_unit),
        ]

    def _take_rows(
        self, first: int, outer: tuple[int, int], inner: tuple[int, int], skip: int = 0
    ) -> Tap:
        unit, tile = 2 * WORDS // UNITS, 2 * WORDS
        sizes, strides = zip(outer, inner, (COLUMNS, tile), (unit, 1), strict=True)
        return self.make_tap("x", first, list(sizes), list(strides), skip=skip)

    def make_line(self, role: str, first: int, n: int) -> Tap:
        """Return `n` elements of 8 KB in a row, from element `first` on."""
        return self.make_tap(role, first, [1, 1, 1, n * WORDS], [0, 0, 0, 1])

    def make_tap(
        self, role: str, first: int, sizes: list[int], strides: list[int], skip: int = 0
    ) -> Tap:
        """Return a pattern that begins `skip` words into element `first` of an argument."""
        total = self.sizes[role]
        return role, TensorAccessPattern([total], first * WORDS + skip, sizes, strides)
