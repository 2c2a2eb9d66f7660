// A tensor's elements in C order, whatever their order in the file is.
#pragma once

#include <cstdint>

#include "io/content.h"
#include "io/elements.h"
#include "io/stored.h"

namespace tidemark::io {

// Elements [first, first + count), through a buffer of at most 1 MiB, placed as elements of `size` bytes.
void fetch(Content& content, const FileTensor& tensor, const Stored& stored, std::int64_t first, std::int64_t count,
           Place place, std::int64_t size, std::uint8_t* to);

}  // namespace tidemark::io
