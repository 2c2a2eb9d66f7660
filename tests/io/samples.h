// Tensor files made by hand, byte for byte, so that readers are not tested with what writers believe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tidemark::test {

// "0aff" -> two bytes; spaces are passed over.
std::string from_hex(std::string_view hex);
// The lowest byte first.
std::string little(std::uint64_t value, int bytes);

// The header's size, the header, the data.
std::string safetensors(const std::string& header, const std::string& data);

// A .npy file of this version whose header's text is padded so that elements begin at a multiple of 64.
std::string npy(const std::string& dict, const std::string& data, int major = 1);
// "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".
std::string npy_dict(const std::string& descr, bool columns_first, const std::string& shape);

// An entry of a zip file as it is, and what its two records say where that differs.
struct ZipPart {
  std::string name;
  std::string content;
  bool deflate = false;
  bool zip64 = false;         // sizes in zip64 fields, here and in the directory
  std::uint16_t flags = 0;    // in both records
  int method = -1;            // in both records; -1: the true one
  std::string packed = {};    // in place of what deflating gives
  std::int64_t size_off = 0;  // added to the size in the directory
  std::uint32_t crc_off = 0;  // likewise
};
struct ZipOptions {
  bool zip64_end = false;
  std::uint16_t disk = 0;
  int entries_off = 0;  // added to the number of entries that the end says
  std::string comment = {};
};
std::string zip(const std::vector<ZipPart>& parts, const ZipOptions& options = {});

// Valid files of all formats, each with its name.
std::vector<std::pair<std::string, std::string>> samples();

}  // namespace tidemark::test
