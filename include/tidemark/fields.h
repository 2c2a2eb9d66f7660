// Named values of any type, as logs and progress lines take them:
//
//   {{"step", i}, {"loss", loss.item()}, {"note", "warm up"}, {"rates", std::vector{0.1, 0.01}}}
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#pragma GCC visibility push(default)
namespace tidemark {

// Integers keep all of their 64 bits; other numbers are f64.
class FieldValue {
 public:
  using Any = std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string,
                           std::vector<std::int64_t>, std::vector<double>>;

  FieldValue(std::nullptr_t) {}                                            // NOLINT: converting by design, as below
  FieldValue(const char* text) : any_(std::string(text)) {}                // NOLINT
  FieldValue(std::string_view text) : any_(std::string(text)) {}           // NOLINT
  FieldValue(std::string text) : any_(std::move(text)) {}                  // NOLINT
  FieldValue(const std::vector<std::int64_t>& numbers) : any_(numbers) {}  // NOLINT
  FieldValue(const std::vector<double>& numbers) : any_(numbers) {}        // NOLINT
  template <class T>
  requires std::is_arithmetic_v<T> FieldValue(T value) {  // NOLINT
    if constexpr (std::is_same_v<T, bool>) {
      any_ = value;
    } else if constexpr (std::is_floating_point_v<T>) {
      any_ = static_cast<double>(value);
    } else if constexpr (std::is_signed_v<T>) {
      any_ = static_cast<std::int64_t>(value);
    } else {
      any_ = static_cast<std::uint64_t>(value);
    }
  }
  // null where there is none.
  template <class T>
  FieldValue(const std::optional<T>& value) {  // NOLINT
    if (value) *this = FieldValue(*value);
  }

  const Any& any() const { return any_; }

 private:
  Any any_;
};

struct Field {
  std::string name;
  FieldValue value;
};

}  // namespace tidemark
#pragma GCC visibility pop
