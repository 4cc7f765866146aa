// The subset of AMD's aie_api that mlir/kernels use, for clang on Hexagon: what code it becomes.
//
// Hexagon is the one vector target of stock LLVM that is like AIE2: a VLIW machine with registers
// of 512 bits, instructions of 4 bytes and loops in hardware. Every operation is as many opaque
// instructions as AIE2 needs (`host/aie_api/aie.hpp` counts them), so inlining, unrolling,
// addresses and spills are LLVM's. Nothing here computes; `mlir/size/__main__.py` measures it.

#pragma once

#include <stdint.h>

struct bfloat16 {
    uint16_t bits;
    bfloat16() = default;
    explicit constexpr bfloat16(float x) : bits(__builtin_bit_cast(uint32_t, x) >> 16) {}
};
struct accfloat {};
struct acc64 {};

namespace aie {

using Register = int __attribute__((vector_size(64)));
enum class rounding_mode { floor, ceil, symmetric_inf, conv_even };

// One register made of up to four others by `n` instructions.
template <unsigned n>
[[gnu::always_inline]] inline Register make(Register a, Register b, Register c, Register d) {
    Register out;
    asm("%0 = vand(%1,%2)" : "=v"(out) : "v"(a), "v"(b), "v"(c), "v"(d));
    if constexpr (n > 1) return make<n - 1>(out, out, out, out);
    return out;
}

template <unsigned n>
[[gnu::always_inline]] inline Register make(Register a, Register b, Register c) {
    return make<n>(a, b, c, c);
}

template <unsigned n>
[[gnu::always_inline]] inline Register make(Register a, Register b) {
    return make<n>(a, b, b, b);
}

template <unsigned n>
[[gnu::always_inline]] inline Register make(Register a) {
    return make<n>(a, a, a, a);
}

enum class saturation_mode { none = 0, saturate = 1, symmetric = 3 };
inline void set_saturation(saturation_mode mode) { asm volatile("%0 = add(%0,#0)" : "+r"(mode)); }
inline void set_rounding(rounding_mode mode) { asm volatile("%0 = add(%0,#0)" : "+r"(mode)); }

template <typename T, unsigned N>
struct vector {
    Register r;
    template <typename U>
    vector<U, N * sizeof(T) / sizeof(U)> cast_to() const {
        if constexpr (__is_floating_point(T) != __is_floating_point(U)) return {make<1>(r)};
        return {r};
    }
    template <unsigned M>
    vector<T, M> extract(unsigned) const {
        return {make<1>(r)};
    }
};

template <unsigned N>
struct mask {
    Register r;
};

template <typename, unsigned N>
struct accum {
    Register r;
    accum() = default;
    accum(Register r) : r(r) {}
    accum(const vector<float, N>& v) : r(v.r) {}
    accum(const vector<bfloat16, N>& v) : r(make<1>(v.r)) {}
    template <typename T>
    vector<T, N> to_vector() const {
        return {sizeof(T) == 4 ? r : make<1>(r)};
    }
};

template <unsigned N>
struct accum<acc64, N> {
    Register r;
    accum(const vector<int32_t, N>& v, int) : r(make<1>(v.r)) {}
    template <typename T>
    vector<T, N> to_vector() const {
        return {make<1>(r)};
    }
};

template <unsigned N, typename T>
vector<T, N> load_v(const T* p) {
    const Register r = *reinterpret_cast<const Register*>(p);
    return {N * sizeof(T) > 32 ? make<1>(r) : r};  // a load has 32 bytes
}

template <typename T, unsigned N>
void store_v(T* p, const vector<T, N>& v) {
    *reinterpret_cast<Register*>(p) = N * sizeof(T) > 32 ? make<1>(v.r) : v.r;
}

template <typename T, unsigned N>
vector<T, N> broadcast(T value) {
    int word = 0;
    if constexpr (sizeof(T) == 4) word = __builtin_bit_cast(int, value);
    Register r;
    asm("%0 = vsplat(%1)" : "=v"(r) : "r"(word));
    return {r};
}

template <typename T, unsigned N>
vector<T, N> zeros() {
    return broadcast<T, N>(T{});
}

#define ONE(name, n)                                                    \
    template <typename T, unsigned N>                                   \
    vector<T, N> name(const vector<T, N>& a, const vector<T, N>& b) {   \
        return {make<n>(a.r, b.r)};                                     \
    }
ONE(add, 1)
ONE(sub, 1)
ONE(max, 1)
ONE(min, 1)
ONE(bit_and, 1)
#undef ONE

template <typename T, unsigned N>
vector<T, N> upshift(const vector<T, N>& v, unsigned) {
    return {make<2>(v.r)};
}

template <typename T, unsigned N>
vector<T, N> downshift(const vector<T, N>& v, unsigned) {
    return {make<2>(v.r)};
}

template <typename T, unsigned N>
mask<N> lt(const vector<T, N>& a, const vector<T, N>& b) {
    return {make<1>(a.r, b.r)};
}

template <typename T, unsigned N>
vector<T, N> select(const vector<T, N>& a, const vector<T, N>& b, const mask<N>& m) {
    return {make<1>(a.r, b.r, m.r)};
}

template <typename T, unsigned N>
[[gnu::always_inline]] inline T reduce_min(const vector<T, N>& v) {
    T out;
    asm("%0 = vextract(%1,%2)" : "=r"(out) : "v"(make<8>(v.r)), "r"(0));
    return out;
}

template <typename T, unsigned N, typename... Rest>
vector<T, N*(1 + sizeof...(Rest))> concat(const vector<T, N>& first, const Rest&... rest) {
    return {make<sizeof...(Rest)>(first.r, rest.r...)};
}

template <typename T, unsigned N>
vector<T, N> transpose(const vector<T, N>& v, unsigned, unsigned) {
    return {make<1>(v.r)};
}

template <typename T, unsigned N>
struct both {
    vector<T, N> first, second;
};

template <typename T, unsigned N>
both<T, N> interleave_zip(const vector<T, N>& a, const vector<T, N>& b, unsigned) {
    return {{make<1>(a.r, b.r)}, {make<1>(b.r, a.r)}};
}

template <unsigned N>
accum<accfloat, N> mac(const accum<accfloat, N>& acc, const vector<bfloat16, N>& a,
                       const vector<bfloat16, N>& b) {
    return {make<2>(acc.r, a.r, b.r)};
}

template <unsigned N>
accum<accfloat, N> mul(const vector<bfloat16, N>& a, const vector<bfloat16, N>& b) {
    return {make<2>(a.r, b.r)};
}

template <unsigned N>
[[gnu::always_inline]] inline accum<accfloat, N> mul(const vector<float, N>& a, const vector<float, N>& b) {
    return {make<13 + 6 + 6>(a.r, b.r)};
}

template <unsigned M, unsigned K, unsigned N, typename A, typename B, typename Acc>
class mmul {
    Register r;

public:
    mmul() : r(zeros<float, M * N>().r) {}
    explicit mmul(const vector<float, M * N>& v) : r(v.r) {}
    void mac(const vector<bfloat16, M * K>& a, const vector<bfloat16, K * N>& b) {
        r = make<1>(r, a.r, b.r);
    }
    template <typename T>
    vector<T, M * N> to_vector() const {
        return {r};
    }
};

}  // namespace aie
