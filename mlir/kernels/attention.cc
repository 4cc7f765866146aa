// Softmax of one tile of queries over one tile of keys, scores never leaving the core.
//
// Scores are to base 2 and the running maximum of a row is an integer: probabilities need no
// multiplication by log2(e), and the accumulators are rescaled exactly, in the exponent.
// Only a strip of 4 queries x 64 keys is held at a time (1 KB): a whole tile of fp32 scores would
// take 16 KB, and with A, B, C and the accumulators 56 of 64 KB are spoken for.
//
// Budget of softmax_tile, 64 queries x 64 keys: 2176 matrix multiplications (scores and sums) and
// 3200 moves, integer operations and permutations, 9 for 16 probabilities; 12.5 k cycles predicted
// (simulate/cost.py), beside 5.8 k of multiply_tile for the values.

#include "tile.hpp"

namespace {

using Mmul = aie::mmul<4, 8, 4, bfloat16, bfloat16, accfloat>;

// state: per strip the maxima of its rows, then the sums, each value four times; then one strip
constexpr unsigned SUMS = STRIPS * BLOCK;
constexpr unsigned SCORES = 2 * STRIPS * BLOCK;
constexpr int32_t LOWEST = -120;  // exponent below which a probability counts as zero
constexpr float START = -1e30f;

// 2^x for x <= 0 in bf16, with bf16 factors throughout: 0.6 %, where rounding alone is 0.2. The
// integer part is added to the exponent of the rounded power, a parabola without roots: it is above
// 1/2 even of what no longer is a fraction, that of x below -2^22.
INLINE Half exp2(const Block& x) {
    const Block shifted = aie::add(x, splat(MAGIC));
    const Half f = to_half(aie::sub(x, aie::sub(shifted, splat(MAGIC))));
    const Half p = to_half(multiply_add(POWER[1], f, splat_half(POWER[2])));
    const Half power = to_half(multiply_add(POWER[0], f, p));
    // the integer in the low bits; the other bits of MAGIC leave 16 bits on the left
    const Bits n = aie::max(bits_of(shifted), splat_bits(bits_of(MAGIC) + LOWEST));
    const auto exponent = aie::accum<acc64, BLOCK>(n, 7).to_vector<int16_t>();
    return aie::add(power.cast_to<int16_t>(), exponent).cast_to<bfloat16>();
}

INLINE void score_strip(const bfloat16* q, const bfloat16* k, float* scores) {
    for (unsigned j = 0; j < STRIPS; j += 4) {
        Mmul sums[4];
        for (unsigned step = 0; step < TILE / 8; ++step) {
            const auto left = aie::load_v<OPERAND>(q + step * OPERAND);
#pragma GCC unroll 4
            for (unsigned x = 0; x < 4; ++x)
                sums[x].mac(left, aie::load_v<OPERAND>(k + (step * STRIPS + j + x) * OPERAND));
        }
#pragma GCC unroll 4
        for (unsigned x = 0; x < 4; ++x)
            aie::store_v(scores + (j + x) * BLOCK, sums[x].to_vector<float>());
    }
}

// The largest of `old` and the scores, by row. Of any that are not negative, the largest integer is
// the largest number; of negative ones alone, the smallest unsigned integer is.
INLINE Block strip_maximum(const Block& old, const float* scores, unsigned blocks) {
    Bits top = bits_of(old);
    Unsigned least = old.cast_to<uint32_t>();
    for (unsigned j = 0; j < blocks; ++j) {
        const Bits bits = aie::load_v<BLOCK>(as_integers(scores + j * BLOCK));
        top = aie::max(top, bits);
        least = aie::min(least, bits.cast_to<uint32_t>());
    }
    top = combine_rows(top, [](const auto& x, const auto& y) { return aie::max(x, y); });
    least = combine_rows(least, [](const auto& x, const auto& y) { return aie::min(x, y); });
    const auto negative = aie::lt(top, splat_bits(0));
    return aie::select(top, least.cast_to<int32_t>(), negative).cast_to<float>();
}

INLINE void rescale(float* acc, float* sum, const Bits& n) {
    if (aie::reduce_min(n) == 0) return;  // the usual case after the first few tiles of keys
    aie::store_v(sum, scale_exponent(aie::load_v<BLOCK>(sum), n));
    for (unsigned j = 0; j < STRIPS; ++j)
        aie::store_v(acc + j * BLOCK, scale_exponent(aie::load_v<BLOCK>(acc + j * BLOCK), n));
}

// probabilities of a strip in the order of A, zero beyond the valid keys; sums by a column of ones
INLINE void probabilities(const float* scores, const Block& maximum, unsigned blocks, bfloat16* p,
                   float* sum) {
    const auto ones = aie::broadcast<bfloat16, OPERAND>(bfloat16(1.0f));
    Mmul total(aie::load_v<BLOCK>(sum));
    for (unsigned j = 0; j < STRIPS; j += 2) {
        Half pair[2];
#pragma GCC unroll 2
        for (unsigned x = 0; x < 2; ++x)
            pair[x] = j + x < blocks
                          ? exp2(aie::sub(aie::load_v<BLOCK>(scores + (j + x) * BLOCK), maximum))
                          : aie::zeros<bfloat16, BLOCK>();
        store_a(p + j / 2 * OPERAND, pair[0], pair[1]);
        total.mac(aie::load_v<OPERAND>(p + j / 2 * OPERAND), ones);
    }
    aie::store_v(sum, total.to_vector<float>());
}

}  // namespace

extern "C" {

[[gnu::cold]] void copy_tile(const bfloat16* from, bfloat16* to) {
    for (unsigned at = 0; at < TILE * TILE; at += OPERAND)
        aie::store_v(to + at, aie::load_v<OPERAND>(from + at));
}

[[gnu::cold]] void start_attention(float* acc, float* state) {
    for (unsigned at = 0; at < TILE * TILE; at += BLOCK) aie::store_v(acc + at, splat(0.0f));
    for (unsigned at = 0; at < SUMS; at += BLOCK) {
        aie::store_v(state + at, splat(START));
        aie::store_v(state + SUMS + at, splat(0.0f));
    }
}

// q as A, k transposed as B; p as A; `valid` of the 64 keys count, a multiple of 4. The product of
// p and the values follows as `multiply_tile`.
void softmax_tile(const bfloat16* q, const bfloat16* k, bfloat16* p, float* acc, float* state,
                  int32_t valid) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    aie::set_saturation(aie::saturation_mode::none);
    const unsigned blocks = valid / 4;
    float* scores = state + SCORES;
    for (unsigned i = 0; i < STRIPS; ++i) {
        score_strip(q + i * TILE * 4, k, scores);
        const Block old = aie::load_v<BLOCK>(state + i * BLOCK);
        const Block top = ceil(strip_maximum(old, scores, blocks));  // `old` is an integer
        aie::store_v(state + i * BLOCK, top);
        const Rounded shift(limit_below(aie::sub(old, top), LOWEST));
        rescale(acc + i * STRIP, state + SUMS + i * BLOCK, shift.integer);
        probabilities(scores, top, blocks, p + i * TILE * 4, state + SUMS + i * BLOCK);
    }
}

[[gnu::cold]] void finish_attention(const float* acc, const float* state, bfloat16* out) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    for (unsigned i = 0; i < STRIPS; ++i) {
        const Split factor(reciprocal(aie::load_v<BLOCK>(state + SUMS + i * BLOCK)));
        for (unsigned j = 0; j < STRIPS; j += 2) {
            const float* from = acc + i * STRIP + j * BLOCK;
            store_a(out + i * TILE * 4 + j * BLOCK,
                    to_half(multiply(Split(aie::load_v<BLOCK>(from)), factor)),
                    to_half(multiply(Split(aie::load_v<BLOCK>(from + BLOCK)), factor)));
        }
    }
}
}
