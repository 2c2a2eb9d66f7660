// Files of tensors: safetensors, and numpy's .npy and .npz (docs/files.md).
//
//   td::TensorFile file("model.safetensors");
//   for (const td::FileTensor& tensor : file.tensors()) std::puts(tensor.name.c_str());
//   file.read_f32(*file.find("head.weight"), 0, 4096, floats);
//
//   td::write_tensors("copy.safetensors", {{"x", td::StoredType::kF32, {2, 3}, [&](const td::AppendBytes& append) {
//                                             append(x.data(), 24);
//                                           }}});
//
// Nothing of a tensor's size is ever held: reading goes straight to where the elements are wanted, or through a buffer
// of at most 1 MiB, and so does writing. What is wrong with a file is a FileError that names the file and the byte.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/error.h"

#pragma GCC visibility push(default)
namespace tidemark {

// Types of elements in files. Values and the program's own numbers have fewer: DType, ElementType.
enum class StoredType : std::uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64
};
std::int64_t size_of(StoredType type);
const char* to_string(StoredType type);  // "bool", "f8_e4m3", "bf16"

struct FileTensor {
  std::string name;
  StoredType type = StoredType::kF32;
  std::vector<std::int64_t> shape;  // at most 64 dimensions, outermost first
  std::int64_t elements = 0;
  std::int64_t bytes = 0;    // elements * size_of(type)
  std::int64_t offset = -1;  // where in the file they lie as read() gives them; -1 where they do not
};

using FileMetadata = std::map<std::string, std::string>;

class TensorFile {
 public:
  // Reads what the file says of its tensors, and checks it against the file's size. The content tells the format, not
  // the name. The tensor of a .npy file has the file's name without ending.
  explicit TensorFile(const std::string& path);
  TensorFile(TensorFile&&) noexcept;
  TensorFile& operator=(TensorFile&&) noexcept;
  ~TensorFile();

  const std::string& path() const;
  // In the order of their bytes in the file.
  std::span<const FileTensor> tensors() const;
  // Null where there is none of that name.
  const FileTensor* find(std::string_view name) const;
  // Of safetensors; others have none.
  const FileMetadata& metadata() const;

  // Elements [first, first + count) in C order and the machine's byte order. The sum that .npz has of a tensor's bytes
  // is checked where calls read them one after another from the first to the last. In a compressed one an earlier
  // element is found by unpacking from the start again, and columns first (Fortran order) makes every call read all
  // of it: read those at once. One thread at a time.
  void read(const FileTensor& tensor, std::int64_t first, std::int64_t count, void* elements,
            SourceLocation where = SourceLocation::current()) const;
  // The same as floats, of f16, bf16 and f32, whose values a float holds, and of f64, which is rounded to the nearest.
  void read_f32(const FileTensor& tensor, std::int64_t first, std::int64_t count, float* elements,
                SourceLocation where = SourceLocation::current()) const;

  // For reads at FileTensor::offset by other means. Open as long as this object lives.
  int descriptor() const;

 private:
  struct State;
  State& state() const;  // throws Error where the file was moved from
  std::unique_ptr<State> state_;
};

// Takes the next bytes of a tensor.
using AppendBytes = std::function<void(const void* bytes, std::int64_t count)>;

struct TensorToWrite {
  std::string name;
  StoredType type = StoredType::kF32;
  std::vector<std::int64_t> shape;
  // Appends its elements in C order, in parts of any size. Called once.
  std::function<void(const AppendBytes& append)> write;
};

// The ending tells the format: .safetensors, .npy for one tensor, whose name is not kept, or .npz. Only safetensors has
// metadata, bf16 and f8; its larger elements come first, so that each tensor is aligned, and else tensors are in the
// order given. The file is written whole in the place of one that is there, or FileError is thrown and nothing has
// changed. What the format cannot hold is an Error before anything is written.
void write_tensors(const std::string& path, std::span<const TensorToWrite> tensors, const FileMetadata& metadata = {},
                   SourceLocation where = SourceLocation::current());
inline void write_tensors(const std::string& path, std::initializer_list<TensorToWrite> tensors,
                          const FileMetadata& metadata = {}, SourceLocation where = SourceLocation::current()) {
  write_tensors(path, std::span<const TensorToWrite>(tensors.begin(), tensors.size()), metadata, where);
}

}  // namespace tidemark
#pragma GCC visibility pop
