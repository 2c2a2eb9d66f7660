// Elements from a file's bytes to where they are wanted: swapped, converted, apart.
#pragma once

#include <cstdint>

#include "tidemark/tensor_file.h"

namespace tidemark::io {

// Writes elements that follow each other in `from` to `to`, `stride` elements apart.
using Place = void (*)(const std::uint8_t* from, std::int64_t count, std::uint8_t* to, std::int64_t stride);

Place placer(StoredType type, bool big_endian);
// Of f16, bf16 and f64 as floats; null for other types.
Place float_placer(StoredType type, bool big_endian);

}  // namespace tidemark::io
