// Elements between files and a session's memory, through small buffers.
#pragma once

#include <cstdint>
#include <mutex>

#include "tidemark/tensor.h"
#include "tidemark/tensor_file.h"

namespace tidemark::io {

inline constexpr std::int64_t kChunk = std::int64_t{1} << 18;  // floats: 1 MiB

// Its elements lie in the file as they are, with nothing to unpack and no sum to check: parts of it can be read in any
// order, and at once.
bool lies_open(const TensorFile& file, const FileTensor& tensor);

// Bytes [first, first + count) of the tensor's elements as floats; of a matrix that is turned where `transpose`. Parts
// of such a one are taken from a copy of the whole. Several threads may read one file where all of them give the `turn`
// that they take for what does not lie open.
void read_part(const TensorFile& file, const FileTensor& tensor, bool transpose, std::int64_t first, std::int64_t count,
               std::byte* to, int threads, SourceLocation where, std::mutex* turn = nullptr);

// The elements of an f32 leaf as `type`, in the order of the matrix that is turned where `transpose`.
void write_elements(const Tensor& leaf, StoredType type, bool transpose, const AppendBytes& append,
                    SourceLocation where);

}  // namespace tidemark::io
