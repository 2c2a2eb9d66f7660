#include "io/stored.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/printable.h"
#include "tidemark/shape.h"

namespace tidemark {
namespace {

struct TypeFacts {
  const char* name;
  std::int64_t size;
};

// In the order of StoredType.
constexpr std::array<TypeFacts, 15> kTypes = {{{"bool", 1},
                                               {"u8", 1},
                                               {"i8", 1},
                                               {"f8_e5m2", 1},
                                               {"f8_e4m3", 1},
                                               {"i16", 2},
                                               {"u16", 2},
                                               {"f16", 2},
                                               {"bf16", 2},
                                               {"i32", 4},
                                               {"u32", 4},
                                               {"f32", 4},
                                               {"f64", 8},
                                               {"i64", 8},
                                               {"u64", 8}}};
static_assert(static_cast<std::size_t>(StoredType::kU64) + 1 == kTypes.size());

}  // namespace

std::int64_t size_of(StoredType type) { return kTypes[static_cast<std::size_t>(type)].size; }
const char* to_string(StoredType type) { return kTypes[static_cast<std::size_t>(type)].name; }

namespace io {

std::vector<std::uint32_t> by_name(std::span<const FileTensor> tensors) {
  std::vector<std::uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const int compared = tensors[a].name.compare(tensors[b].name);
    return compared < 0 || (compared == 0 && a < b);
  });
  return order;
}

std::optional<std::uint32_t> find_twin(std::span<const FileTensor> tensors, std::span<const std::uint32_t> by_name) {
  const auto first = std::adjacent_find(by_name.begin(), by_name.end(), [&](std::uint32_t a, std::uint32_t b) {
    return tensors[a].name == tensors[b].name;
  });
  if (first == by_name.end()) return std::nullopt;
  return first[1];
}

std::optional<std::int64_t> count_elements(std::span<const std::int64_t> shape, std::int64_t size) {
  std::int64_t bytes = size;
  bool empty = false;
  for (const std::int64_t dim : shape) {
    if (dim < 0) return std::nullopt;
    empty = empty || dim == 0;
    if (dim > 0 && __builtin_mul_overflow(bytes, dim, &bytes)) return std::nullopt;
    if (bytes > kMaxBytes) return std::nullopt;
  }
  return empty ? 0 : bytes / size;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::string in_quotes(std::string_view name) { return absl::StrCat("'", core::printable_name(name), "'"); }

}  // namespace io
}  // namespace tidemark
