// What follows the last step of a product: GELU, the residual, and the order of the next operand.
//
// Memory-bound kernels read 16 KB of accumulators: 512 loads of 256 bits, 256 cycles at best.

#include "tile.hpp"

namespace {

// 2^f for |f| <= 1/2, to 16 bits: the last factor is exact to that, the others need less
INLINE Block exp2_near_zero(const Block& f) {
    const Split split(f);
    Block p = multiply_add(EXP2[2], split.high, splat_half(EXP2[3]));
    p = multiply_add(EXP2[1], split.high, to_half(p));
    return aie::add(splat(EXP2[0]), multiply(split, Split(p)));
}

struct Piece {
    Block centre, c[4];
};

INLINE Piece choose_piece(const Bits& t) {
    const auto first = aie::lt(t, splat_bits(bits_of(GELU_EDGES[0])));
    const auto second = aie::lt(t, splat_bits(bits_of(GELU_EDGES[1])));
    const auto pick = [&](float a, float b, float c) __attribute__((always_inline)) {
        return aie::select(aie::select(splat(c), splat(b), second), splat(a), first);
    };
    Piece out;
    out.centre = pick(GELU_CENTRES[0], GELU_CENTRES[1], GELU_CENTRES[2]);
#pragma GCC unroll 4
    for (unsigned i = 0; i < 4; ++i) out.c[i] = pick(GELU[0][i], GELU[1][i], GELU[2][i]);
    return out;
}

// 0 for x < 0, else x: -0 and what is not a number stay. Less 1, the bits of negative numbers are
// those from the least integer to the bits of minus infinity.
INLINE Block clamp_negative(const Bits& x) {
    const auto negative = aie::lt(aie::sub(x, splat_bits(1)), splat_bits(bits_of(-__builtin_inff())));
    return aie::select(x, splat_bits(0), negative).cast_to<float>();
}

// max(x, 0) - t * Phi(-t) with t = |x|, no table: 30 products and sums, and 48 moves, integer
// operations and selections for 16 values
INLINE Block gelu(const Bits& x) {
    const Bits magnitude = aie::bit_and(x, splat_bits(0x7fffffff));
    const Bits limited = aie::min(magnitude, splat_bits(bits_of(GELU_LIMIT)));
    const Piece piece = choose_piece(limited);
    const Block t = limited.cast_to<float>();
    const Split u(aie::sub(t, piece.centre));
    Block y = aie::mac(Accumulator(piece.c[2]), u.high, to_half(piece.c[3])).to_vector<float>();
    y = aie::add(piece.c[1], multiply(u, Split(y)));
    y = aie::add(piece.c[0], multiply(u, Split(y)));
    const Rounded n(y);
    const Bits power = bits_of(exp2_near_zero(aie::sub(y, n.value)));
    const Block phi = aie::add(power, aie::upshift(n.integer, 23)).cast_to<float>();  // is normal
    return aie::sub(clamp_negative(x), multiply(Split(t), Split(phi)));
}

// The next product reads this tile as A.
void store_as_a(const float* c, bfloat16* out) {
    for (unsigned at = 0; at < TILE * TILE; at += 2 * BLOCK)
        store_a(out + at, to_half(aie::load_v<BLOCK>(c + at)),
                to_half(aie::load_v<BLOCK>(c + at + BLOCK)));
}

// Rows are keys, columns dimensions; attention reads the transpose as B, blocks of 8 x 4. A DMA
// moves no less than 4 bytes, so it cannot do this.
void store_as_keys(const float* c, bfloat16* out) {
    for (unsigned i = 0; i < STRIPS; ++i)
        for (unsigned j = 0; j < STRIPS; j += 2) {
            const float* from = c + i * STRIP + j * BLOCK;
            const Half upper = aie::transpose(to_half(aie::load_v<BLOCK>(from)), 4, 4);
            const Half lower = aie::transpose(to_half(aie::load_v<BLOCK>(from + BLOCK)), 4, 4);
            aie::store_v(out + (j / 2 * STRIPS + i) * OPERAND, aie::concat(upper, lower));
        }
}

// Rows are keys, columns dimensions; attention reads this as B.
void store_as_values(const float* c, bfloat16* out) {
    for (unsigned i = 0; i < STRIPS; i += 2)
        for (unsigned j = 0; j < STRIPS; ++j) {
            const float* from = c + i * STRIP + j * BLOCK;
            const Half upper = to_half(aie::load_v<BLOCK>(from));
            const Half lower = to_half(aie::load_v<BLOCK>(from + STRIP));
            aie::store_v(out + (i / 2 * STRIPS + j) * OPERAND, aie::concat(upper, lower));
        }
}

}  // namespace

extern "C" {

// In place; the result is rounded to bf16 here, so that each order below stores the same numbers.
void gelu_tile(float* c) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    for (unsigned at = 0; at < TILE * TILE; at += BLOCK)
        aie::store_v(c + at, to_block(to_half(gelu(aie::load_v<BLOCK>(as_integers(c + at))))));
}

// half 0: the upper 32 rows, half 1: the lower; 8 KB of fp32 are one element of a fifo
void add_residual(const float* residual, float* c, int32_t half) {
    float* to = c + half * TILE * TILE / 2;
    for (unsigned at = 0; at < TILE * TILE / 2; at += BLOCK)
        aie::store_v(to + at, aie::add(aie::load_v<BLOCK>(to + at),
                                       aie::load_v<BLOCK>(residual + at)));
}

void store_f32(const float* c, float* out, int32_t half) {
    const float* from = c + half * TILE * TILE / 2;
    for (unsigned at = 0; at < TILE * TILE / 2; at += BLOCK)
        aie::store_v(out + at, aie::load_v<BLOCK>(from + at));
}

// parameters: the order (0: A of the next product; 1: keys; 2: values), tiles left in it, tiles in
// each. Counted here, so that the core's program need not.
void store_operand(const float* c, bfloat16* out, int32_t* parameters) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    const int32_t order = parameters[0];
    if (order == 0) store_as_a(c, out);
    if (order == 1) store_as_keys(c, out);
    if (order == 2) store_as_values(c, out);
    if (--parameters[1] > 0) return;
    parameters[0] = order + 1;
    parameters[1] = parameters[2];
}
}
