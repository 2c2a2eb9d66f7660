#pragma once

#include <cstdint>

namespace tidemark::core {

// The least multiple of `unit` that is not below n >= 0.
constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace tidemark::core
