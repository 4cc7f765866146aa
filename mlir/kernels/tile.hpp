// A tile of 64 x 64 in one core, and fp32 arithmetic on AIE2. Definitions: spec.py, numerics.py.
#pragma once

#include <aie_api/aie.hpp>

#include "coefficients.h"

// Never a call: Peano was seen to miscompile functions that take two fp32 vectors. A kernel that
// runs seldom is `[[gnu::cold]]`, which makes its code small; loops over registers say `unroll`, for
// no other loop is unrolled: all kernels share 16 KB of program memory.
#define INLINE [[gnu::always_inline]] inline

constexpr unsigned TILE = 64;
constexpr unsigned STRIPS = TILE / 4;       // strips of 4 rows; blocks of 4 columns in a strip
constexpr unsigned BLOCK = 16;              // fp32 values in a block of 4 x 4
constexpr unsigned STRIP = STRIPS * BLOCK;  // fp32 values in a strip
constexpr unsigned OPERAND = 32;            // bf16 values in a block of 4 x 8 or 8 x 4

using Block = aie::vector<float, BLOCK>;
using Bits = aie::vector<int32_t, BLOCK>;
using Unsigned = aie::vector<uint32_t, BLOCK>;
using Half = aie::vector<bfloat16, BLOCK>;
using Accumulator = aie::accum<accfloat, BLOCK>;

INLINE Block splat(float value) { return aie::broadcast<float, BLOCK>(value); }
INLINE Bits splat_bits(int32_t value) { return aie::broadcast<int32_t, BLOCK>(value); }
constexpr int32_t bits_of(float x) { return __builtin_bit_cast(int32_t, x); }
INLINE Bits bits_of(const Block& x) { return x.cast_to<int32_t>(); }
INLINE const int32_t* as_integers(const float* p) { return reinterpret_cast<const int32_t*>(p); }
INLINE Half to_half(const Block& x) { return Accumulator(x).to_vector<bfloat16>(); }
INLINE Half splat_half(float value) { return aie::broadcast<bfloat16, BLOCK>(bfloat16(value)); }
INLINE Block to_block(const Half& x) { return Accumulator(x).to_vector<float>(); }

// An fp32 number as two bf16: 16 bits and more, where bf16 has 8.
struct Split {
    Half high, low;
    INLINE explicit Split(const Block& x) : high(to_half(x)), low(to_half(aie::sub(x, to_block(high)))) {}
};

INLINE Block multiply(const Split& a, const Split& b) {
    Accumulator sum = aie::mul(a.high, b.high);
    sum = aie::mac(sum, a.high, b.low);
    return aie::mac(sum, a.low, b.high).to_vector<float>();
}

// sum + x * x
INLINE Accumulator add_square(const Accumulator& sum, const Split& x) {
    const Accumulator cross = aie::mac(aie::mac(sum, x.high, x.high), x.high, x.low);
    return aie::mac(cross, x.high, x.low);
}

INLINE Block multiply_add(float c, const Half& a, const Half& b) {
    return aie::mac(Accumulator(splat(c)), a, b).to_vector<float>();
}

// There is no rounding to integers: adding 1.5 * 2^23 leaves the integer in the low bits.
constexpr float MAGIC = 12582912.0f;

struct Rounded {
    Block value;
    Bits integer;
    INLINE explicit Rounded(const Block& x) {
        const Block shifted = aie::add(x, splat(MAGIC));
        value = aie::sub(shifted, splat(MAGIC));
        integer = aie::sub(bits_of(shifted), splat_bits(bits_of(MAGIC)));
    }
};

// AIE2 compares integers; an fp32 comparison is five operations. Bits of numbers of one sign are
// in the order of their magnitudes, and a difference that is not exact still has the right sign.

INLINE Block ceil(const Block& x) {
    const Block near = Rounded(x).value;
    const auto below = aie::lt(bits_of(aie::sub(near, x)), splat_bits(0));
    return aie::select(near, aie::add(near, splat(1.0f)), below);
}

// the larger of x <= 0 and of a constant below zero
INLINE Block limit_below(const Block& x, float least) {
    const Unsigned limit = aie::broadcast<uint32_t, BLOCK>(bits_of(least));
    return aie::min(x.cast_to<uint32_t>(), limit).cast_to<float>();
}

// x * 2^n for n <= 0; what leaves the normal numbers becomes zero or a denormal
INLINE Block scale_exponent(const Block& x, const Bits& n) {
    const Bits bits = bits_of(x), shift = aie::upshift(n, 23);
    const Bits magnitude = aie::bit_and(bits, splat_bits(0x7fffffff));
    const Bits least = aie::sub(splat_bits(0), shift);
    const Bits scaled = aie::add(bits, shift);
    return aie::select(scaled, splat_bits(0), aie::lt(magnitude, least)).cast_to<float>();
}

// 1 / x for normal x > 0, a few numbers a row: here true fp32 products are affordable
INLINE Block reciprocal(const Block& x) {
    Block y = aie::sub(splat_bits(0x7ef311c7), bits_of(x)).cast_to<float>();
    for (int step = 0; step < 3; ++step) {
        const Block rest = aie::sub(splat(2.0f), aie::mul(x, y).to_vector<float>());
        y = aie::mul(y, rest).to_vector<float>();
    }
    return y;
}

INLINE Block reciprocal_root(const Block& x) {
    const Bits even = aie::bit_and(bits_of(x), splat_bits(~1));  // a shift rounds as set_rounding says
    Block y = aie::sub(splat_bits(0x5f375a86), aie::downshift(even, 1)).cast_to<float>();
    const Block half = aie::mul(splat(0.5f), x).to_vector<float>();
    for (int step = 0; step < 3; ++step) {
        const Block square = aie::mul(y, y).to_vector<float>();
        const Block rest = aie::sub(splat(1.5f), aie::mul(half, square).to_vector<float>());
        y = aie::mul(y, rest).to_vector<float>();
    }
    return y;
}

// Every row of the block becomes its four values combined: f(f(0, 1), f(2, 3)).
template <typename F>
INLINE auto combine_rows(const auto& x, F f) {
    const auto columns = aie::transpose(x, 4, 4);
    const auto low = f(columns.template extract<4>(0), columns.template extract<4>(1));
    const auto high = f(columns.template extract<4>(2), columns.template extract<4>(3));
    const auto all = f(low, high);
    return aie::transpose(aie::concat(all, all, all, all), 4, 4);
}

// Two blocks of 4 x 4 side by side become one of 4 x 8, which is how A is read.
INLINE void store_a(bfloat16* to, const Half& left, const Half& right) {
    const auto [upper, lower] = aie::interleave_zip(left, right, 4);
    aie::store_v(to, aie::concat(upper, lower));
}
