// LayerNorm over rows of tiles, 8 rows at a time: an element has their share of four tiles, 2 KB each.
//
// All of a row of cores see all elements and sum them; each keeps its own tile's share. A DMA brings
// an element in 2048 cycles, and it takes about 128 loads: the stream or memory is the limit.

#include "tile.hpp"

namespace {

// sums: the first column of each row four times over, then sums, then squares, 1 KB each
constexpr unsigned SUMS = STRIPS * BLOCK;
constexpr unsigned SQUARES = 2 * STRIPS * BLOCK;
constexpr float EPSILON = 1e-5f;
constexpr unsigned SHARE = 2 * STRIP;  // fp32 values of 8 rows of a tile
constexpr int32_t TILES = 4;           // in an element
constexpr int32_t UNITS = 8;           // stretches of 8 rows in a tile

// run-time parameters, by the numbers that designs/whisper.py gives them; the first three are counted here
enum { UNIT = 3, GROUP, KEEPING, TWICE, GROUPS, COUNTED, INVERSE };

// Rows that pass once lie in the first two strips of the sums.
INLINE float* find_sums(float* sums, const int32_t* p) { return sums + (p[TWICE] ? 2 * p[UNIT] * BLOCK : 0); }

INLINE Block add_four(const Block& x) {
    return combine_rows(x, [](const auto& a, const auto& b) { return aie::add(a, b); });
}

INLINE void start_strip(const float* x, float* row) {
    const auto first = aie::transpose(aie::load_v<BLOCK>(x), 4, 4).extract<4>(0);
    aie::store_v(row, aie::transpose(aie::concat(first, first, first, first), 4, 4));
    aie::store_v(row + SUMS, splat(0.0f));
    aie::store_v(row + SQUARES, splat(0.0f));
}

INLINE void add_strip(const float* x, float* row, int32_t tiles) {
    const Block first = aie::load_v<BLOCK>(row);
    Block sum = aie::load_v<BLOCK>(row + SUMS);
    Accumulator squares(aie::load_v<BLOCK>(row + SQUARES));
    for (int32_t tile = 0; tile < tiles; ++tile)
        for (unsigned j = 0; j < STRIPS; ++j) {
            const Block centred = aie::sub(aie::load_v<BLOCK>(x + tile * SHARE + j * BLOCK), first);
            sum = aie::add(sum, centred);
            squares = add_square(squares, Split(centred));
        }
    aie::store_v(row + SUMS, sum);
    aie::store_v(row + SQUARES, squares.to_vector<float>());
}

}  // namespace

extern "C" {

void add_rows(const float* x, float* kept, float* sums, int32_t* p, int32_t column) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    float* to = kept + (p[TWICE] ? 0 : p[GROUP] * SHARE);
    for (unsigned at = 0; at < SHARE; at += BLOCK)
        aie::store_v(to + at, aie::load_v<BLOCK>(x + column * SHARE + at));
    if (p[KEEPING]) return;
    float* rows = find_sums(sums, p);
    const int32_t left = p[COUNTED] - TILES * p[GROUP];
    for (unsigned i = 0; i < 2; ++i) {
        if (p[GROUP] == 0) start_strip(x + i * STRIP, rows + i * BLOCK);
        add_strip(x + i * STRIP, rows + i * BLOCK, left < TILES ? left : TILES);
    }
    if (++p[GROUP] < p[GROUPS]) return;
    p[GROUP] = 0;
    if (p[TWICE] && ++p[UNIT] == UNITS) {
        p[UNIT] = 0;
        p[KEEPING] = 1;
    }
}

// Sums become mean (about the first column) and scale, once.
[[gnu::cold]] void finish_rows(float* sums, const int32_t* p) {
    if (p[GROUP] > 0) return;
    float* rows = find_sums(sums, p);
    const Block factor = splat_bits(p[INVERSE]).cast_to<float>();
    for (unsigned i = 0; i < 2; ++i) {
        float* row = rows + i * BLOCK;
        const Block mean = aie::mul(add_four(aie::load_v<BLOCK>(row + SUMS)), factor).to_vector<float>();
        const Block square =
            aie::mul(add_four(aie::load_v<BLOCK>(row + SQUARES)), factor).to_vector<float>();
        const Block spread = aie::sub(square, aie::mul(mean, mean).to_vector<float>());
        const Block variance = aie::max(bits_of(spread), splat_bits(0)).cast_to<float>();
        aie::store_v(row + SUMS, mean);
        aie::store_v(row + SQUARES, reciprocal_root(aie::add(variance, splat(EPSILON))));
    }
}

void normalise_rows(const float* kept, float* sums, bfloat16* out, int32_t* p) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    const float* rows = find_sums(sums, p);
    const int32_t tiles = p[TWICE] ? 1 : p[GROUPS];
    bfloat16* to = out + p[UNIT] * tiles * SHARE;
    for (unsigned i = 0; i < 2; ++i) {
        const Block first = aie::load_v<BLOCK>(rows + i * BLOCK);
        const Block mean = aie::load_v<BLOCK>(rows + SUMS + i * BLOCK);
        const Split scale(aie::load_v<BLOCK>(rows + SQUARES + i * BLOCK));
        const auto normalise = [&](const float* from) __attribute__((always_inline)) {
            const Block centred = aie::sub(aie::load_v<BLOCK>(from), first);
            return to_half(multiply(Split(aie::sub(centred, mean)), scale));
        };
        for (int32_t tile = 0; tile < tiles; ++tile)
            for (unsigned j = 0; j < STRIPS; j += 2) {
                const unsigned at = tile * SHARE + i * STRIP + j * BLOCK;
                store_a(to + at, normalise(kept + at), normalise(kept + at + BLOCK));
            }
    }
    if (++p[UNIT] * tiles < UNITS) return;
    p[UNIT] = 0;
    if (p[TWICE] && ++p[GROUP] == p[GROUPS]) p[GROUP] = p[KEEPING] = 0;
}
}
