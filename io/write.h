// Files of tensors as they are written: each format appends to a file that is published when all of it is there.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/output_file.h"
#include "tidemark/tensor_file.h"

namespace tidemark::io {

// Small parts wait until they are 1 MiB together; large ones go to the file as they are.
class Appender {
 public:
  Appender(core::OutputFile& file, SourceLocation where) : file_(file), where_(where) {}

  void append(std::string_view bytes);
  // A tensor's elements; throws Error where `write` gives more or fewer. Their sum is added to `crc`.
  void append(const TensorToWrite& tensor, std::uint32_t* crc = nullptr);
  // What waits.
  void flush();
  std::int64_t position() const { return position_; }
  SourceLocation where() const { return where_; }

 private:
  core::OutputFile& file_;
  SourceLocation where_;
  std::string waiting_;
  std::int64_t position_ = 0;
};

// Of tensors whose names and shapes have been checked.
void write_safetensors(Appender& to, std::span<const TensorToWrite> tensors, const FileMetadata& metadata);
void write_npy(Appender& to, const TensorToWrite& tensor);
// Sizes and places above `most32` are written in 64 bits.
inline constexpr std::uint32_t kMost32 = 0xFFFFFFFE;
void write_npz(Appender& to, std::span<const TensorToWrite> tensors, std::uint32_t most32 = kMost32);

// A text as JSON has it, in quotes; empty where it is not UTF-8.
std::string json_text(const std::string& text);

// The CRC-32 of zip files goes on from one text to the next; it begins with 0.
std::uint32_t add_to_crc(std::uint32_t crc, std::string_view bytes);

// "[write_tensors] what (at file.cc:12)", as an Error.
[[noreturn]] void refuse(const std::string& what, SourceLocation where);

}  // namespace tidemark::io
