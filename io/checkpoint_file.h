// One checkpoint as a file: docs/files.md describes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tidemark/checkpoint.h"
#include "tidemark/tensor_file.h"

namespace tidemark::io {

// What is not a tensor.
struct RunState {
  std::int64_t step = 0;
  std::uint32_t random_ordinal = 0;
  std::uint64_t seed = 0;
  int threads = 0;
  std::string instructions = {};  // that kernels are chosen by: "AVX-512"
  struct Part {
    std::string name;
    std::string kind;
    std::string identity;
    std::vector<std::string> frozen;  // parameters that need no gradient
  };
  std::vector<Part> parts = {};
};

std::string instructions_here();

// A part's tensors by their names in the file: "model.0.weight". Several of one name are told apart by "#2", "#3".
std::vector<std::pair<std::string, Tensor>> named_tensors(const detail::CheckpointPart& part);
std::string numbers_name(const std::string& part);  // of its numbers

// Throws FileError, and leaves what is there.
void write_checkpoint(const std::string& file, const RunState& run, const std::vector<detail::CheckpointPart>& parts,
                      SourceLocation where);

class CheckpointFile {
 public:
  // Reads all of it, and compares the checksums. Throws FileError where it is damaged, or none.
  explicit CheckpointFile(const std::string& file, SourceLocation where);
  const RunState& run() const { return run_; }
  const TensorFile& tensors() const { return tensors_; }
  // Of a part; nothing where it has none.
  std::optional<std::vector<double>> numbers(const std::string& part, SourceLocation where) const;

 private:
  std::uint64_t hash_of(const FileTensor& tensor, std::span<std::byte> buffer, SourceLocation where) const;

  TensorFile tensors_;
  RunState run_;
};

}  // namespace tidemark::io
