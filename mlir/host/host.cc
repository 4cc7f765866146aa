// The C interface by which Python prepares a kernel call and reads what it cost.
#include <aie_api/aie.hpp>

extern "C" {

// Allow accesses to n buffers, and reset what a call must not inherit: rounding mode and counts.
void host_begin(const std::uintptr_t* begins, const std::uint64_t* sizes, unsigned n) {
    for (unsigned i = 0; i < n; ++i) host::ranges[i] = {begins[i], begins[i] + sizes[i]};
    host::n_ranges = n;
    aie::set_rounding(aie::rounding_mode::floor);
    for (auto& count : host::counts) count = 0;
}

void host_counts(std::uint64_t* out) { std::memcpy(out, host::counts, sizeof host::counts); }

std::uint16_t host_round(float value, int mode) {
    aie::set_rounding(static_cast<aie::rounding_mode>(mode));
    return bfloat16(value).bits;
}
}
