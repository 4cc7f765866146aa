// The subset of AMD's aie_api that mlir/kernels use, for g++: what AIE2 computes, on the host.
//
// Same names and meaning as the original; no line is taken from it. Three things differ:
// * Accesses are checked: a load or store that is misaligned or outside of the buffers of the call
//   (`host_begin`) ends the process with file and line of the kernel.
// * Operations are counted by the slot of the VLIW bundle they occupy (`host::counts`): that is
//   where predicted cycles come from. What AIE2 emulates counts what llvm-aie's headers do instead;
//   the comparisons of fp32 numbers, which have exact replacements, are absent.
// * An fp32 addition rounds to nearest even. AIE2 adds on a grid of about 24 bits and flushes
//   denormals; its last bits may differ.

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <source_location>
#include <type_traits>
#include <utility>

#include "host.hpp"

struct bfloat16 {
    std::uint16_t bits;
    bfloat16() = default;
    explicit bfloat16(float value);
    explicit operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

struct accfloat {};  // names the fp32 accumulator
struct acc64 {};     // names the one of integers

namespace aie {

enum class rounding_mode { floor, ceil, symmetric_inf, conv_even };

inline thread_local rounding_mode rounding = rounding_mode::floor;  // AIE2's state at reset

inline void set_rounding(rounding_mode mode) { rounding = mode; }

enum class saturation_mode { none = 0, saturate = 1, symmetric = 3 };

inline thread_local saturation_mode saturation = saturation_mode::none;

inline void set_saturation(saturation_mode mode) { saturation = mode; }

// fp32 to bf16 in the current mode; NaN stays NaN, overflow rounds to infinity. `floor` drops
// the low bits, which is how AIE2's default truncates.
inline bfloat16 to_bfloat16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    bfloat16 out;
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        out.bits = static_cast<std::uint16_t>((bits >> 16 & 0x8000u) | 0x7fc0u);
        return out;
    }
    const bool negative = bits >> 31;
    std::uint32_t up = 0;
    switch (rounding) {
        case rounding_mode::floor: break;
        case rounding_mode::ceil: up = negative ? 0 : 0xffffu; break;
        case rounding_mode::symmetric_inf: up = 0x8000u; break;
        case rounding_mode::conv_even: up = 0x7fffu + (bits >> 16 & 1u); break;
    }
    const bool infinite = (bits & 0x7fffffffu) == 0x7f800000u;
    out.bits = static_cast<std::uint16_t>((infinite ? bits : bits + up) >> 16);
    return out;
}

template <typename T, unsigned N>
struct vector {
    alignas(N * sizeof(T) < 64 ? N * sizeof(T) : 64) T data[N];

    // fp32 numbers are computed in accumulators, integers in vector registers
    template <typename U>
    vector<U, N * sizeof(T) / sizeof(U)> cast_to() const {
        if constexpr (std::is_floating_point_v<T> != std::is_floating_point_v<U>)
            host::count(host::move);
        return std::bit_cast<vector<U, N * sizeof(T) / sizeof(U)>>(*this);
    }

    template <unsigned M>
    vector<T, M> extract(unsigned index) const {
        host::count(host::move);
        vector<T, M> out;
        std::memcpy(out.data, data + index * M, sizeof out.data);
        return out;
    }
};

template <unsigned N>
struct mask {
    bool data[N];
};

template <typename, unsigned N>
struct accum {
    vector<float, N> lanes;

    accum() = default;
    accum(const vector<float, N>& v) : lanes(v) {}
    accum(const vector<bfloat16, N>& v) {
        host::count(host::move);
        for (unsigned i = 0; i < N; ++i) lanes.data[i] = static_cast<float>(v.data[i]);
    }

    template <typename T>
    vector<T, N> to_vector() const {
        if constexpr (std::is_same_v<T, float>) {
            return lanes;
        } else {
            host::count(host::store);  // the store unit converts
            vector<bfloat16, N> out;
            for (unsigned i = 0; i < N; ++i) out.data[i] = to_bfloat16(lanes.data[i]);
            return out;
        }
    }
};

template <unsigned N>
struct accum<acc64, N> {
    std::int64_t lanes[N];

    accum(const vector<std::int32_t, N>& v, int shift) {
        host::count(host::move);
        for (unsigned i = 0; i < N; ++i) lanes[i] = static_cast<std::int64_t>(v.data[i]) << shift;
    }

    template <std::integral T>
    vector<T, N> to_vector() const {
        host::count(host::store);
        vector<T, N> out;
        const std::int64_t highest = std::numeric_limits<T>::max();
        const std::int64_t lowest = saturation == saturation_mode::symmetric
                                        ? -highest : std::int64_t{std::numeric_limits<T>::min()};
        for (unsigned i = 0; i < N; ++i)
            out.data[i] = static_cast<T>(saturation == saturation_mode::none
                                             ? lanes[i] : std::clamp(lanes[i], lowest, highest));
        return out;
    }
};

template <unsigned N, typename T>
vector<T, N> load_v(const T* p, std::source_location where = std::source_location::current()) {
    host::check(p, N * sizeof(T), where);
    host::count(host::load, (N * sizeof(T) + 31) / 32);
    vector<T, N> out;
    std::memcpy(out.data, p, sizeof out.data);
    return out;
}

template <typename T, unsigned N>
void store_v(T* p, const vector<T, N>& v,
             std::source_location where = std::source_location::current()) {
    host::check(p, N * sizeof(T), where);
    host::count(host::store, (N * sizeof(T) + 31) / 32);
    std::memcpy(p, v.data, sizeof v.data);
}

template <typename T, unsigned N>
vector<T, N> broadcast(T value) {
    vector<T, N> out;
    for (auto& lane : out.data) lane = value;
    return out;
}

template <typename T, unsigned N>
vector<T, N> zeros() {
    return broadcast<T, N>(T{});
}

// fp32 sums are the multiplier's, integers that of the permutation unit
template <typename T>
constexpr host::Slot unit_of = std::is_floating_point_v<T> ? host::vector_unit : host::move;

template <typename T>
auto in_ring(T x) {  // integers wrap
    if constexpr (std::integral<T>) return static_cast<std::make_unsigned_t<T>>(x);
    else return x;
}

template <typename T, unsigned N, typename F>
vector<T, N> map(const vector<T, N>& a, const vector<T, N>& b, F f) {
    host::count(unit_of<T>);
    vector<T, N> out;
    for (unsigned i = 0; i < N; ++i) out.data[i] = f(a.data[i], b.data[i]);
    return out;
}

template <typename T, unsigned N>
vector<T, N> add(const vector<T, N>& a, const vector<T, N>& b) {
    return map(a, b, [](T x, T y) { return static_cast<T>(in_ring(x) + in_ring(y)); });
}

template <typename T, unsigned N>
vector<T, N> sub(const vector<T, N>& a, const vector<T, N>& b) {
    return map(a, b, [](T x, T y) { return static_cast<T>(in_ring(x) - in_ring(y)); });
}

template <std::integral T, unsigned N>
vector<T, N> max(const vector<T, N>& a, const vector<T, N>& b) {
    return map(a, b, [](T x, T y) { return x > y ? x : y; });
}

template <std::integral T, unsigned N>
vector<T, N> min(const vector<T, N>& a, const vector<T, N>& b) {
    return map(a, b, [](T x, T y) { return x < y ? x : y; });
}

template <std::integral T, unsigned N>
vector<T, N> bit_and(const vector<T, N>& a, const vector<T, N>& b) {
    return map(a, b, [](T x, T y) { return static_cast<T>(x & y); });
}

// A shift is a move into 64-bit accumulators and a store out of them, which rounds.
template <std::integral T, unsigned N>
vector<T, N> upshift(const vector<T, N>& v, unsigned n) {
    host::count(host::store);
    return map(v, v, [n](T x, T) { return static_cast<T>(in_ring(x) << n); });
}

template <std::integral T, unsigned N>
vector<T, N> downshift(const vector<T, N>& v, unsigned n) {
    host::count(host::store);
    return map(v, v, [n](T x, T) {
        const T kept = x >> n, rest = x & ((T{1} << n) - 1), half = T{1} << n >> 1;
        bool up = false;
        switch (rounding) {
            case rounding_mode::floor: break;
            case rounding_mode::ceil: up = rest > 0; break;
            case rounding_mode::symmetric_inf: up = rest > half - (x >= 0); break;
            case rounding_mode::conv_even: up = rest > half - (kept & 1); break;
        }
        return static_cast<T>(kept + up);
    });
}

template <std::integral T, unsigned N>
mask<N> lt(const vector<T, N>& a, const vector<T, N>& b) {
    host::count(host::move);
    mask<N> out;
    for (unsigned i = 0; i < N; ++i) out.data[i] = a.data[i] < b.data[i];
    return out;
}

// b where the mask is set, else a
template <typename T, unsigned N>
vector<T, N> select(const vector<T, N>& a, const vector<T, N>& b, const mask<N>& m) {
    host::count(host::move);
    vector<T, N> out;
    for (unsigned i = 0; i < N; ++i) out.data[i] = m.data[i] ? b.data[i] : a.data[i];
    return out;
}

template <std::integral T, unsigned N>
T reduce_min(const vector<T, N>& v) {
    host::count(host::move, 2 * (std::bit_width(N) - 1) + 1);  // rotate, compare; then to a register
    T out = v.data[0];
    for (T lane : v.data) out = lane < out ? lane : out;
    return out;
}

template <typename T, unsigned N, typename... Rest>
vector<T, N*(1 + sizeof...(Rest))> concat(const vector<T, N>& first, const Rest&... rest) {
    host::count(host::move, sizeof...(Rest));
    vector<T, N*(1 + sizeof...(Rest))> out;
    unsigned at = 0;
    const auto put = [&](const vector<T, N>& v) {
        std::memcpy(out.data + at, v.data, sizeof v.data);
        at += N;
    };
    put(first);
    (put(rest), ...);
    return out;
}

template <typename T, unsigned N>
vector<T, N> transpose(const vector<T, N>& v, unsigned rows, unsigned columns) {
    host::count(host::move);
    vector<T, N> out;
    for (unsigned r = 0; r < rows; ++r)
        for (unsigned c = 0; c < columns; ++c) out.data[c * rows + r] = v.data[r * columns + c];
    return out;
}

template <typename T, unsigned N>
std::pair<vector<T, N>, vector<T, N>> interleave_zip(const vector<T, N>& a, const vector<T, N>& b,
                                                     unsigned chunk) {
    host::count(host::move, 2);
    std::array<T, 2 * N> both;
    for (unsigned i = 0; i < N; ++i) {
        both[i / chunk * 2 * chunk + i % chunk] = a.data[i];
        both[i / chunk * 2 * chunk + chunk + i % chunk] = b.data[i];
    }
    std::pair<vector<T, N>, vector<T, N>> out;
    std::memcpy(out.first.data, both.data(), sizeof out.first.data);
    std::memcpy(out.second.data, both.data() + N, sizeof out.second.data);
    return out;
}

// A product takes 32 numbers: zeros move beside the 16 of an operand that was not one before.
template <unsigned N>
accum<accfloat, N> mac(const accum<accfloat, N>& acc, const vector<bfloat16, N>& a,
                       const vector<bfloat16, N>& b) {
    host::count(host::vector_unit);
    host::count(host::move);
    accum<accfloat, N> out;
    for (unsigned i = 0; i < N; ++i)
        out.lanes.data[i] =
            acc.lanes.data[i] + static_cast<float>(a.data[i]) * static_cast<float>(b.data[i]);
    return out;
}

template <unsigned N>
accum<accfloat, N> mul(const vector<bfloat16, N>& a, const vector<bfloat16, N>& b) {
    host::count(host::vector_unit);
    host::count(host::move);
    accum<accfloat, N> out;
    for (unsigned i = 0; i < N; ++i)
        out.lanes.data[i] = static_cast<float>(a.data[i]) * static_cast<float>(b.data[i]);
    return out;
}

// fp32 by fp32, emulated: both are split in three bf16 by two products each, then multiplied in nine
template <unsigned N>
accum<accfloat, N> mul(const vector<float, N>& a, const vector<float, N>& b) {
    host::count(host::vector_unit, 2 * 2 + 9);
    host::count(host::store, 2 * 3);
    host::count(host::move, 2 * 3);
    accum<accfloat, N> out;
    for (unsigned i = 0; i < N; ++i) out.lanes.data[i] = a.data[i] * b.data[i];
    return out;
}

// 4 x 8 x 4 is the only shape of bf16 that one instruction multiplies: 128 products a cycle
template <unsigned M, unsigned K, unsigned N, typename A, typename B, typename Acc>
class mmul {
    static_assert(M == 4 && K == 8 && N == 4 && std::is_same_v<A, bfloat16> &&
                  std::is_same_v<B, bfloat16>);
    vector<float, M * N> lanes;

public:
    mmul() : lanes(zeros<float, M * N>()) {}
    explicit mmul(const vector<float, M * N>& v) : lanes(v) {}

    // each sum takes its eight products one after the other, in the order of K
    void mac(const vector<bfloat16, M * K>& a, const vector<bfloat16, K * N>& b) {
        host::count(host::vector_unit);
        host::count(host::matrix);
        host::mac_4x8x4(lanes.data, a.data, b.data);
    }

    template <typename T>
    vector<T, M * N> to_vector() const {
        return accum<accfloat, M * N>(lanes).template to_vector<T>();
    }
};

}  // namespace aie

inline bfloat16::bfloat16(float value) : bits(aie::to_bfloat16(value).bits) {}
