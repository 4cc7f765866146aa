// One tile of an int8 product: C (64 x 64, int32) adds A @ B, exactly. The next step after bf16: no
// design uses it yet, `mlir/README.md` says what it would bring and what is missing.
//
// Budget per step of 64: 1024 multiplications of 4 x 8 by 8 x 8, one per cycle at best: half of
// bf16's 2048. The result of one fills an accumulator of 1024 bits, of which there are nine, so
// eight are in flight, 4 x 2: 4 + 2 x 2 loads of 256 bits, two a cycle, feed eight multiplications.

#include <aie_api/aie.hpp>

namespace {

using Mmul = aie::mmul<4, 8, 8, int8_t, int8_t, acc32>;

constexpr unsigned ROWS = 64 / 4, COLUMNS = 64 / 8, STEPS = 64 / 8;  // blocks in a tile

}  // namespace

extern "C" {

// a in blocks of 4 x 8, b of 8 x 8, c of 4 x 8, each in rows of blocks
void multiply_tile_i8(const int8_t* a, const int8_t* b, int32_t* c) {
    for (unsigned i = 0; i < ROWS; i += 4)
        for (unsigned j = 0; j < COLUMNS; j += 2) {
            Mmul sums[4][2];
            for (unsigned y = 0; y < 4; ++y)
                for (unsigned x = 0; x < 2; ++x)
                    sums[y][x] = Mmul(aie::load_v<Mmul::size_C>(
                        c + ((i + y) * COLUMNS + j + x) * Mmul::size_C));
            for (unsigned k = 0; k < STEPS; ++k) {
                const auto* right = b + (k * COLUMNS + j) * Mmul::size_B;
                const auto first = aie::load_v<Mmul::size_B>(right);
                const auto second = aie::load_v<Mmul::size_B>(right + Mmul::size_B);
                for (unsigned y = 0; y < 4; ++y) {
                    const auto left =
                        aie::load_v<Mmul::size_A>(a + ((i + y) * STEPS + k) * Mmul::size_A);
                    sums[y][0].mac(left, first);
                    sums[y][1].mac(left, second);
                }
            }
            for (unsigned y = 0; y < 4; ++y)
                for (unsigned x = 0; x < 2; ++x)
                    aie::store_v(c + ((i + y) * COLUMNS + j + x) * Mmul::size_C,
                                 sums[y][x].to_vector<int32_t>());
        }
}
}
