// Bytes, as users state and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#pragma GCC visibility push(default)
namespace tidemark {

inline namespace literals {
constexpr std::int64_t operator""_B(unsigned long long n) { return static_cast<std::int64_t>(n); }
constexpr std::int64_t operator""_KiB(unsigned long long n) { return static_cast<std::int64_t>(n) << 10; }
constexpr std::int64_t operator""_MiB(unsigned long long n) { return static_cast<std::int64_t>(n) << 20; }
constexpr std::int64_t operator""_GiB(unsigned long long n) { return static_cast<std::int64_t>(n) << 30; }
}  // namespace literals

// "12 B", "3.5 KiB", "41.0 MiB": binary units, one decimal from KiB up.
std::string format_bytes(std::int64_t bytes);
// The same, rounded up: parse_bytes() of the text is no less than `bytes`.
std::string format_bytes_up(std::int64_t bytes);

// Reads "1048576", "512MiB", "1.5GiB", "64 KiB", "2MB" (decimal). Throws Error saying what is allowed.
std::int64_t parse_bytes(std::string_view text);

// What bytes are for.
enum class Category : std::uint8_t { kParameters, kGradients, kOptimizer, kActivations, kBatch, kWorkspace, kScratch };
inline constexpr int kCategories = 7;
const char* to_string(Category category);

}  // namespace tidemark
#pragma GCC visibility pop
