// A file of a few bytes that unpacks to a large one, so that the fuzzer reaches what lies behind a header's size.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tests/fuzz/input.h"

namespace tidemark::fuzz {

// Runs of one byte, and bytes as they are, until a part says that it is the last.
std::vector<std::uint8_t> unpack(Input& input);
// As gzip has it.
std::vector<std::uint8_t> gzip(std::span<const std::uint8_t> content);

}  // namespace tidemark::fuzz
