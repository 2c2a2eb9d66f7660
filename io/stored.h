// Tensors as they are stored, and what the formats have in common.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/tensor_file.h"

namespace tidemark::io {

// No tensor has more dimensions, and no file more tensors or texts of metadata: what describes them has a bound.
inline constexpr std::size_t kMostDims = 64;
inline constexpr std::size_t kMostNames = 1'000'000;

// Bytes of a file that belong together: as they lie there, or packed by deflate. Places in it count unpacked bytes.
struct Extent {
  std::int64_t offset = 0;  // in the file
  std::int64_t packed = 0;  // bytes there
  std::int64_t size = 0;    // unpacked
  bool deflated = false;
  std::optional<std::uint32_t> crc;  // of the unpacked bytes
};

// How a tensor's elements lie in the file.
struct Stored {
  Extent extent;
  std::int64_t start = 0;  // of the elements in the extent
  bool big_endian = false;
  bool columns_first = false;
};

// What a file holds: tensors in the order of their bytes, and how each is stored.
struct Contents {
  std::vector<FileTensor> tensors;
  std::vector<Stored> stored;
  FileMetadata metadata;
};

// Indices of the tensors in the order of their names; those of the same name in their own order.
std::vector<std::uint32_t> by_name(std::span<const FileTensor> tensors);
// The second of those of one name, where there are any.
std::optional<std::uint32_t> find_twin(std::span<const FileTensor> tensors, std::span<const std::uint32_t> by_name);

// The number of elements; nothing where a dimension is negative, or where the product of those above 0, times the
// element's size, passes kMaxBytes.
std::optional<std::int64_t> count_elements(std::span<const std::int64_t> shape, std::int64_t size);
std::string shape_text(std::span<const std::int64_t> shape);  // "[2, 3]"

// A name for messages: printable, of one line.
std::string in_quotes(std::string_view name);

}  // namespace tidemark::io
