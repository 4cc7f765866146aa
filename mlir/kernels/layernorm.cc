// LayerNorm over a row of tiles, which pass by twice as halves of 32 rows x 64 columns fp32.
//
// First pass: sum and sum of squares of every row about its first column. Second pass: normalise.
// A DMA brings a half in 2048 cycles, and it takes about 128 loads: the stream is the limit.

#include "tile.hpp"

namespace {

// sums: the first column of each row four times over, then sums, then squares, 1 KB each
constexpr unsigned SUMS = STRIPS * BLOCK;
constexpr unsigned SQUARES = 2 * STRIPS * BLOCK;
constexpr float EPSILON = 1e-5f;

INLINE Block add_four(const Block& x) {
    return combine_rows(x, [](const auto& a, const auto& b) { return aie::add(a, b); });
}

}  // namespace

extern "C" {

[[gnu::cold]] void start_rows(const float* x, float* sums, int32_t half) {
    for (unsigned i = 0; i < STRIPS / 2; ++i) {
        float* row = sums + (half * STRIPS / 2 + i) * BLOCK;
        const auto first = aie::transpose(aie::load_v<BLOCK>(x + i * STRIP), 4, 4).extract<4>(0);
        aie::store_v(row, aie::transpose(aie::concat(first, first, first, first), 4, 4));
        aie::store_v(row + SUMS, splat(0.0f));
        aie::store_v(row + SQUARES, splat(0.0f));
    }
}

void add_rows(const float* x, float* sums, int32_t half) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    for (unsigned i = 0; i < STRIPS / 2; ++i) {
        float* row = sums + (half * STRIPS / 2 + i) * BLOCK;
        const Block first = aie::load_v<BLOCK>(row);
        Block sum = aie::load_v<BLOCK>(row + SUMS);
        Accumulator squares(aie::load_v<BLOCK>(row + SQUARES));
        for (unsigned j = 0; j < STRIPS; ++j) {
            const Block centred = aie::sub(aie::load_v<BLOCK>(x + i * STRIP + j * BLOCK), first);
            sum = aie::add(sum, centred);
            squares = add_square(squares, Split(centred));
        }
        aie::store_v(row + SUMS, sum);
        aie::store_v(row + SQUARES, squares.to_vector<float>());
    }
}

// inverse: the bits of fp32 1 / columns. Sums become mean (about the first column) and scale.
[[gnu::cold]] void finish_rows(float* sums, int32_t inverse) {
    const Block factor = splat_bits(inverse).cast_to<float>();
    for (unsigned i = 0; i < STRIPS; ++i) {
        float* row = sums + i * BLOCK;
        const Block mean = aie::mul(add_four(aie::load_v<BLOCK>(row + SUMS)), factor).to_vector<float>();
        const Block square =
            aie::mul(add_four(aie::load_v<BLOCK>(row + SQUARES)), factor).to_vector<float>();
        const Block spread = aie::sub(square, aie::mul(mean, mean).to_vector<float>());
        const Block variance = aie::max(bits_of(spread), splat_bits(0)).cast_to<float>();
        aie::store_v(row + SUMS, mean);
        aie::store_v(row + SQUARES, reciprocal_root(aie::add(variance, splat(EPSILON))));
    }
}

void normalise_rows(const float* x, const float* sums, bfloat16* out, int32_t half) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    for (unsigned i = 0; i < STRIPS / 2; ++i) {
        const unsigned strip = half * STRIPS / 2 + i;
        const Block first = aie::load_v<BLOCK>(sums + strip * BLOCK);
        const Block mean = aie::load_v<BLOCK>(sums + SUMS + strip * BLOCK);
        const Split scale(aie::load_v<BLOCK>(sums + SQUARES + strip * BLOCK));
        const auto normalise = [&](const float* from) {
            const Block centred = aie::sub(aie::load_v<BLOCK>(from), first);
            return to_half(multiply(Split(aie::sub(centred, mean)), scale));
        };
        for (unsigned j = 0; j < STRIPS; j += 2)
            store_a(out + strip * TILE * 4 + j * BLOCK, normalise(x + i * STRIP + j * BLOCK),
                    normalise(x + i * STRIP + (j + 1) * BLOCK));
    }
}
}
