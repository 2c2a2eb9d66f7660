// Elements between files and a session's memory, through small buffers.
#pragma once

#include <cstdint>

#include "tidemark/tensor.h"
#include "tidemark/tensor_file.h"

namespace tidemark::io {

inline constexpr std::int64_t kChunk = std::int64_t{1} << 18;  // floats: 1 MiB

// Bytes [first, first + count) of the tensor's elements as floats; of a matrix that is turned where `transpose`. Parts
// of such a one are taken from a copy of the whole.
void read_part(const TensorFile& file, const FileTensor& tensor, bool transpose, std::int64_t first, std::int64_t count,
               std::byte* to, int threads, SourceLocation where);

// The elements of an f32 leaf as `type`, in the order of the matrix that is turned where `transpose`.
void write_elements(const Tensor& leaf, StoredType type, bool transpose, const AppendBytes& append,
                    SourceLocation where);

}  // namespace tidemark::io
