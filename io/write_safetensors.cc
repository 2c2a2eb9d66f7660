#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "io/stored.h"
#include "io/write.h"

namespace tidemark::io {

std::string json_text(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::type_error&) {
    return {};
  }
}

void write_safetensors(Appender& to, std::span<const TensorToWrite> tensors, const FileMetadata& metadata) {
  constexpr std::size_t kAlign = 8;  // the largest element
  std::vector<const TensorToWrite*> order;
  for (const TensorToWrite& tensor : tensors) {
    if (tensor.name == "__metadata__") refuse("'__metadata__' is no name of a tensor in .safetensors", to.where());
    order.push_back(&tensor);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const TensorToWrite* a, const TensorToWrite* b) { return size_of(a->type) > size_of(b->type); });

  std::vector<std::string> entries;
  std::vector<std::string> texts;
  for (const auto& [key, value] : metadata) {
    const std::pair<std::string, std::string> both = {json_text(key), json_text(value)};
    if (both.first.empty() || both.second.empty()) {
      refuse(absl::StrCat("metadata ", in_quotes(key), ": not UTF-8"), to.where());
    }
    texts.push_back(absl::StrCat(both.first, ":", both.second));
  }
  if (!texts.empty()) entries.push_back(absl::StrCat("\"__metadata__\":{", absl::StrJoin(texts, ","), "}"));
  std::int64_t begin = 0;
  for (const TensorToWrite* tensor : order) {
    const std::int64_t end = begin + *count_elements(tensor->shape, size_of(tensor->type)) * size_of(tensor->type);
    entries.push_back(absl::StrCat(json_text(tensor->name), ":{\"dtype\":\"", safetensors_name(tensor->type),
                                   "\",\"shape\":[", absl::StrJoin(tensor->shape, ","), "],\"data_offsets\":[", begin,
                                   ",", end, "]}"));
    begin = end;
  }
  std::string header = absl::StrCat("{", absl::StrJoin(entries, ","), "}");
  header.append((kAlign - header.size() % kAlign) % kAlign, ' ');
  if (std::ssize(header) > kMostHeader) {
    refuse(absl::StrCat("a header of ", header.size(), " bytes; .safetensors allow ", kMostHeader), to.where());
  }
  std::string size;
  append_little_endian(size, std::uint64_t{header.size()});
  to.append(size);
  to.append(header);
  for (const TensorToWrite* tensor : order) to.append(*tensor);
}

}  // namespace tidemark::io
