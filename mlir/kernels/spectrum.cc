// What comes before and after the products of a spectrum: samples in two bf16 parts, and power.
//
// An fp32 number takes as much room as its two parts: 32 samples of a frame, and the power at 32
// frequencies, become a row of a tile of 64.

#include "tile.hpp"

namespace {

constexpr unsigned HALF = TILE / 2;
constexpr unsigned PARTS = HALF / 8;  // blocks of A in a strip that hold high parts

INLINE Block power(const float* real) {
    const Split re(aie::load_v<BLOCK>(real));
    const Split im(aie::load_v<BLOCK>(real + STRIP / 2));
    return add_square(add_square(Accumulator(splat(0.0f)), re), im).to_vector<float>();
}

}  // namespace

extern "C" {

// x: 64 frames x 32 samples, frame after frame, as the DMA reads them. Two rows of 8 are half of a
// block of A, so nothing is permuted. Not in place: a load must not wait for a store.
void split_tile(const float* x, bfloat16* out) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    for (unsigned i = 0; i < STRIPS; ++i)
        for (unsigned j = 0; j < PARTS; ++j)
#pragma GCC unroll 2
            for (unsigned pair = 0; pair < 2; ++pair) {
                const float* from = x + (4 * i + 2 * pair) * HALF + 8 * j;
                const Split split(aie::concat(aie::load_v<8>(from), aie::load_v<8>(from + HALF)));
                bfloat16* to = out + i * TILE * 4 + j * OPERAND + pair * BLOCK;
                aie::store_v(to, split.high);
                aie::store_v(to + PARTS * OPERAND, split.low);
            }
}

// c: 32 real parts, then 32 imaginary parts
[[gnu::cold]] void store_power(const float* c, bfloat16* out) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    for (unsigned i = 0; i < STRIPS; ++i)
        for (unsigned j = 0; j < PARTS; ++j) {
            const float* from = c + i * STRIP + 2 * j * BLOCK;
            const Split left(power(from)), right(power(from + BLOCK));
            bfloat16* to = out + i * TILE * 4 + j * OPERAND;
            store_a(to, left.high, right.high);
            store_a(to + PARTS * OPERAND, left.low, right.low);
        }
}
}
