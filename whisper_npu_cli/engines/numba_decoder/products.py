"""Products of packed int8 matrices and 16-bit activations: the inner loop of the decoder.

Activations are rounded to 16 bits, a row at a time: off by 2e-5 of the largest, where int8 weights
are off by 4e-3 of the largest. All sums are exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from whisper_npu_cli.engines.numba_decoder.compiling import serial
from whisper_npu_cli.engines.numba_decoder.packing import LANES
from whisper_npu_cli.engines.numba_decoder.vectors import highest_magnitude

MAX_TILE = 6  # rows of x at a time; their sums leave four of AVX2's 16 registers
MAX_UNROLL = 4  # pairs of inputs at a time; the number of inputs is a multiple of as many
AHEAD = 2048  # bytes from the read to the prefetch; 1024 and 4096 are as good


def _choose_unroll(n_x: int, features: str) -> int:
    """Return how many pairs of inputs have sums of their own, which all stay in registers.

    A multiply-add waits some four cycles for the one before it on the same sum.
    """
    n_sums = 28 if "+avx512f" in features else 6  # 32 registers, 16 of half the size; less four
    return next(n for n in (4, 2, 1) if n == 1 or n * n_x <= n_sums)


def _make_tile(n_x: int) -> Any:
    """Return a compiled function of one packed block and `n_x` rows of int16.

    `tile(packed, block, x, j, out)` sets, for the outputs i of a block that `out` has, and b < n_x,
    out[j + b, i] to the product of the packed matrix's row i and x[j + b].

    This is LLVM by hand, for its vectoriser does not find `vpmaddwd` in a loop over int32, in
    whichever form. On other CPUs the same lines become widening multiplications. The function is
    long because LLVM's builder wants a call for each instruction.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(typing: Any, packed: Any, block: Any, x: Any, j: Any, out: Any) -> Any:
        del typing, block, j

        def build(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            _, block, _, j, _ = args
            unroll = _choose_unroll(n_x, context.codegen().magic_tuple()[2])
            int8, int16, int32 = (ir.IntType(bits) for bits in (8, 16, 32))
            sums, products = ir.VectorType(int32, LANES), ir.VectorType(int32, 2 * LANES)
            arrays = {
                i: context.make_array(signature.args[i])(context, builder, args[i])
                for i in (0, 2, 4)
            }

            def number(value: int) -> Any:
                return context.get_constant(types.intp, value)

            def point_at(array: int, element: Any, *index: Any) -> Any:
                kind, made = signature.args[array], arrays[array]
                pointer = cgutils.get_item_pointer(context, builder, kind, made, index)
                return builder.bitcast(pointer, element.as_pointer())

            def repeat(value: Any) -> Any:
                undefined = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
                one = builder.insert_element(undefined, value, int32(0))
                return builder.shuffle_vector(one, undefined, ir.Constant(sums, [0] * LANES))

            prefetch = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(ir.VoidType(), [int8.as_pointer(), *[int32] * 3]),
                "llvm.prefetch.p0",  # address, read, keep in all caches, data
            )
            even, odd = (ir.Constant(sums, list(range(h, 2 * LANES, 2))) for h in (0, 1))
            totals = [
                [cgutils.alloca_once_value(builder, sums(None)) for _ in range(n_x)]
                for _ in range(unroll)
            ]
            n_pairs = cgutils.unpack_tuple(builder, arrays[0].shape)[1]
            with cgutils.for_range_slice(builder, number(0), n_pairs, number(unroll)) as (first, _):
                for u, of_pair in enumerate(totals):
                    k = builder.add(first, number(u))
                    codes = point_at(0, int8, block, k, number(0))
                    later = builder.gep(codes, [int32(AHEAD)])
                    builder.call(prefetch, [later, int32(0), int32(3), int32(1)])
                    kind = ir.VectorType(int8, 2 * LANES).as_pointer()
                    loaded = builder.load(builder.bitcast(codes, kind), align=1)
                    weights = builder.sext(loaded, products)
                    for b, total in enumerate(of_pair):
                        place = point_at(
                            2, int32, builder.add(j, number(b)), builder.shl(k, k.type(1))
                        )
                        pair = builder.bitcast(
                            repeat(builder.load(place, align=2)), ir.VectorType(int16, 2 * LANES)
                        )
                        product = builder.mul(weights, builder.sext(pair, products))
                        halves = (builder.shuffle_vector(product, product, h) for h in (even, odd))
                        added = builder.add(builder.load(total), builder.add(*halves))
                        builder.store(added, total)
            n_out = cgutils.unpack_tuple(builder, arrays[4].shape)[1]
            i = builder.mul(block, number(LANES))
            left = builder.trunc(builder.sub(n_out, i), int32)
            mask = builder.icmp_signed("<", ir.Constant(sums, list(range(LANES))), repeat(left))
            floats = ir.VectorType(ir.FloatType(), LANES)
            store = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(
                    ir.VoidType(),
                    [floats, floats.as_pointer(), int32, ir.VectorType(ir.IntType(1), LANES)],
                ),
                f"llvm.masked.store.v{LANES}f32.p0",
            )
            for b in range(n_x):
                total = builder.load(totals[0][b])
                for of_pair in totals[1:]:
                    total = builder.add(total, builder.load(of_pair[b]))
                place = point_at(4, floats, builder.add(j, number(b)), i)
                builder.call(store, [builder.sitofp(total, floats), place, int32(4), mask])
            return context.get_dummy_value()

        return types.void(packed, types.intp, x, types.intp, out), build

    return tile


_tile_of_1, _tile_of_2, _tile_of_3, _tile_of_4, _tile_of_5, _tile_of_6 = (
    _make_tile(n_x) for n_x in range(1, MAX_TILE + 1)
)


@serial
def multiply(packed, first, last, x, out):  # type: ignore[no-untyped-def]
    """Set out[j, i] = row i of the packed matrix . x[j], for the outputs i of blocks first to last.

    x (>= n_x, >= n_in) int16 with codes small enough for int32 sums, out (n_x, n_out) f32. Rows of
    x come in as few tiles as possible, of sizes as equal as possible; a block is read again for
    each, from the caches.
    """
    n_x = out.shape[0]
    n_tiles = (n_x + MAX_TILE - 1) // MAX_TILE
    for block in range(first, last):
        for tile in range(n_tiles):
            j, end = tile * n_x // n_tiles, (tile + 1) * n_x // n_tiles
            if end - j == 1:
                _tile_of_1(packed, block, x, j, out)
            elif end - j == 2:
                _tile_of_2(packed, block, x, j, out)
            elif end - j == 3:
                _tile_of_3(packed, block, x, j, out)
            elif end - j == 4:
                _tile_of_4(packed, block, x, j, out)
            elif end - j == 5:
                _tile_of_5(packed, block, x, j, out)
            else:
                _tile_of_6(packed, block, x, j, out)


@serial
def round_row(j, x, limit, rounded):  # type: ignore[no-untyped-def]
    """Round row j of x (n_x, n) f32 into `rounded`: integers of at most `limit`, and a scale."""
    largest = max(highest_magnitude(x[j]), np.float32(1e-30))
    rounded.scale[j] = largest / limit
    inverse = limit / largest
    for k in range(x.shape[1]):
        rounded.codes[j, k] = np.int16(np.rint(x[j, k] * inverse))
