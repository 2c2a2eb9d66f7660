// numpy's .npy format: magic bytes and a version, the size of the header, the header as a Python dict, the elements.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/tensor_file.h"

namespace tidemark::io {

inline constexpr std::string_view kNpyMagic = "\x93NUMPY";

struct NpyHeader {
  StoredType type = StoredType::kF32;
  bool big_endian = false;
  bool columns_first = false;
  std::vector<std::int64_t> shape;
  std::int64_t elements = 0;
  std::int64_t start = 0;  // of the elements
};

// An array as a whole, its header and elements: where it is read from, and how errors at one of its bytes are told.
struct NpyBytes {
  std::int64_t size = 0;
  std::function<void(std::int64_t at, std::int64_t count, std::uint8_t* to)> read;  // called for parts that follow
  std::function<void(std::int64_t at, const std::string& what)> fail;               // throws
};

NpyHeader read_npy_header(const NpyBytes& bytes);

// Of version 1.0. Empty where numpy has no such type.
std::string npy_header(StoredType type, std::span<const std::int64_t> shape);

}  // namespace tidemark::io
