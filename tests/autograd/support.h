// What the tests of the engine's promises share: bits, messages, and lines of the test itself.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "tidemark/error.h"
#include "tidemark/tensor.h"

namespace tidemark::test {

// A value's elements, to be compared bit for bit.
inline std::vector<std::uint8_t> bits(const Tensor& tensor) {
  std::vector<std::uint8_t> out;
  const auto take = [&](const auto& elements) {
    out.resize(elements.size() * sizeof elements[0]);
    if (!out.empty()) std::memcpy(out.data(), elements.data(), out.size());
  };
  switch (tensor.dtype()) {
    case DType::f32:
      take(tensor.to_vector<float>());
      break;
    case DType::i32:
      take(tensor.to_vector<std::int32_t>());
      break;
    case DType::f16:
      take(tensor.to_vector<float>());
      break;
    case DType::u8:
      take(tensor.to_vector<std::uint8_t>());
      break;
  }
  return out;
}

// vector's comparison of bytes, so a NaN equals itself and 0 differs from -0.
inline bool same_bits(const Tensor& a, const Tensor& b) { return a.shape() == b.shape() && bits(a) == bits(b); }

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// The text of the Error that the call throws; "" where it throws none.
template <class Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// "file.cc:41" for the line below the call, which is what a message should name.
inline std::string next_line(SourceLocation where = SourceLocation::current()) {
  return to_string(SourceLocation{where.file, where.line + 1});
}

}  // namespace tidemark::test
