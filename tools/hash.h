// XXH3 (64 bits) of tensors' exact bits, element by element in row-major order. It is an op, so that it reads them
// where they lie: nothing is copied out, and the bytes of the process are those of training.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tidemark/tensor.h"

namespace tidemark::tools {

std::uint64_t hash_bits(std::span<const Tensor> tensors, SourceLocation where = SourceLocation::current());

// 16 hexadecimal digits.
std::string to_hex(std::uint64_t hash);

}  // namespace tidemark::tools
