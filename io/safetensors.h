// The safetensors format: the header's size in 8 bytes, the header as JSON, and the tensors' bytes without a gap.
#pragma once

#include <cstdint>
#include <string>

#include "io/file.h"
#include "io/stored.h"

namespace tidemark::io {

// The longest header that the format allows.
inline constexpr std::int64_t kMostHeader = 100'000'000;

Contents read_safetensors(const File& file);

// "F32", as headers have it.
std::string safetensors_name(StoredType type);

}  // namespace tidemark::io
