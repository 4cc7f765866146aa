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
        self.across = spec.n // TILE  # tiles in a row of the output

    def list_blocks(self) -> Iterator[tuple[int, int]]:
        """Yield the output blocks in the order in which the cores make them."""
        columns = 1 if self.spec.op == "layernorm" else self.spec.n // PASS
        return ((i, j) for i in range(self.spec.m // PASS) for j in range(columns))

    def feed_a(self, i: int, j: int, row: int) -> list[Tap]:
        """Return what row `row` of cores is sent for block (i, j)."""
        spec, at = self.spec, ROWS * i + row
        if spec.op == "attention":
            return [self.make_line("q", at * self.across + COLUMNS * j, COLUMNS)]
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
        if EPILOGUES[spec.epilogue].residual:
            taps.append(
                self.make_line("residual", 2 * (at * self.across + COLUMNS * j), 2 * COLUMNS)
            )
        return taps

    def feed_b(self, j: int, column: int) -> Tap:
        """Return what column `column` of cores is sent for any block (i, j)."""
        at = COLUMNS * j + column
        if self.spec.op == "attention":
            pairs = 2 * self.spec.k // TILE
            return self.make_line("kv", at * pairs, pairs)
        if self.spec.op == "layernorm":
            return self.make_line("x", 0, 1)
        steps = self.sizes["weights"] // WORDS // self.across
        return self.make_line("weights", at * steps, steps)

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
        first, stride = ROWS * i * across + at, across * WORDS
        if epilogue.layout == "kv":
            pairs = 2 * self.spec.m // TILE  # keys and values alternate down a head
            first = at * pairs + 2 * ROWS * i + (self.spec.epilogue == "value")
            stride = 2 * WORDS
        return self.make_tap("out", first, [1, ROWS, *run[0]], [0, stride, *run[1]])

    def make_line(self, role: str, first: int, n: int) -> Tap:
        """Return `n` elements of 8 KB in a row, from element `first` on."""
        return self.make_tap(role, first, [1, 1, 1, n * WORDS], [0, 0, 0, 1])

    def make_tap(self, role: str, first: int, sizes: list[int], strides: list[int]) -> Tap:
        """Return a pattern that begins at element `first` of an argument."""
        total = self.sizes[role]
        return role, TensorAccessPattern([total], first * WORDS, sizes, strides)
