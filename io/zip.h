// The directory of a zip file.
#pragma once

#include <string>
#include <vector>

#include "io/file.h"
#include "io/stored.h"

namespace tidemark::io {

struct ZipEntry {
  std::string name;
  Extent extent;
};

inline constexpr std::uint16_t kStored = 0;
inline constexpr std::uint16_t kDeflated = 8;

// In the order of their bytes, which do not overlap. Names may be there twice.
std::vector<ZipEntry> read_zip_directory(const File& file);

}  // namespace tidemark::io
