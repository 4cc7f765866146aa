// What stands behind the host aie_api: checked accesses, counted operations, a fast mmul.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <source_location>

namespace host {

struct Range {
    std::uintptr_t begin, end;
};

inline thread_local Range ranges[8];
inline thread_local unsigned n_ranges = 0;

// Slots of AIE2's VLIW bundle that vector code competes for, as Peano assigns them (llvm-aie's
// test TanhTemplated-swp.ll): products and fp32 sums; loads; stores, and conversions that round;
// moves, integers, comparisons and permutations. `matrix` counts the matrix products of vector_unit.
enum Slot { vector_unit, load, store, move, matrix, n_slots };
inline thread_local std::uint64_t counts[n_slots];

inline void count(Slot slot, std::uint64_t n = 1) { counts[slot] += n; }

[[noreturn]] inline void refuse(const char* what, const void* p, std::size_t size,
                                std::source_location where) {
    std::fprintf(stderr, "%s:%u: %s: %zu bytes at %p\n", where.file_name(),
                 static_cast<unsigned>(where.line()), what, size, p);
    std::abort();
}

// Vector accesses are aligned to their size, to 32 bytes at most: a bank is 128 bits wide and
// a 256-bit access takes two of them at once.
inline void check(const void* p, std::size_t size, std::source_location where) {
    const auto begin = reinterpret_cast<std::uintptr_t>(p);
    if (begin % (size < 32 ? size : 32)) refuse("misaligned access", p, size, where);
    for (unsigned i = 0; i < n_ranges; ++i)
        if (ranges[i].begin <= begin && begin + size <= ranges[i].end) return;
    refuse("access outside of the buffers of this call", p, size, where);
}

using Lanes = float __attribute__((vector_size(16)));

template <typename T>
void mac_4x8x4(float* c, const T* a, const T* b) {
    Lanes rows[4];
    std::memcpy(rows, c, sizeof rows);
    for (int k = 0; k < 8; ++k) {
        Lanes column;
        for (int j = 0; j < 4; ++j) column[j] = static_cast<float>(b[4 * k + j]);
        for (int i = 0; i < 4; ++i) rows[i] += static_cast<float>(a[8 * i + k]) * column;
    }
    std::memcpy(c, rows, sizeof rows);
}

}  // namespace host
