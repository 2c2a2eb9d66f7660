// Any file as a file of tensors: it is refused with file and byte, or its elements are the same whole and in parts, and
// the same when they have been written in any format and read again.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "tests/fuzz/input.h"
#include "tidemark/error.h"
#include "tidemark/tensor_file.h"

namespace {

using namespace tidemark;  // NOLINT(google-build-using-namespace)
using fuzz::require;
using Bytes = std::vector<std::uint8_t>;

constexpr std::int64_t kMost = 1 << 20;  // bytes of a tensor: packed ones unpack to a thousand times as many

Bytes read(const TensorFile& file, const FileTensor& tensor, std::int64_t first, std::int64_t count) {
  Bytes bytes(static_cast<std::size_t>(count * size_of(tensor.type)));
  file.read(tensor, first, count, bytes.data());
  return bytes;
}

void require_parts(const TensorFile& file, const FileTensor& tensor, const Bytes& whole, fuzz::Input& input) {
  if (tensor.elements == 0) return;
  const auto first = static_cast<std::int64_t>(input.word() % static_cast<std::uint64_t>(tensor.elements));
  const auto count = static_cast<std::int64_t>(input.word() % static_cast<std::uint64_t>(tensor.elements - first + 1));
  const Bytes part = read(file, tensor, first, count);
  require(std::equal(part.begin(), part.end(), whole.begin() + first * size_of(tensor.type)), "a part of the whole");
  std::vector<float> floats(static_cast<std::size_t>(count));
  try {
    file.read_f32(tensor, first, count, floats.data());
  } catch (const Error& error) {
    require(std::string(error.what()).find("as f32 are read") != std::string::npos, "other types are no floats");
  }
}

void require_copy(const std::string& name, const std::vector<FileTensor>& tensors, const std::vector<Bytes>& contents) {
  const std::string path = fuzz::folder() / name;
  std::vector<TensorToWrite> all;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    all.push_back({tensors[i].name, tensors[i].type, tensors[i].shape,
                   [&contents, i](const AppendBytes& append) { append(contents[i].data(), std::ssize(contents[i])); }});
  }
  try {
    write_tensors(path, all);
  } catch (const FileError&) {
    require(false, "a file is written");
  } catch (const Error&) {
    return;  // the format does not hold them
  }
  const TensorFile copy(path);
  require(copy.tensors().size() == tensors.size(), "all tensors are there");
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const FileTensor* found = name.ends_with(".npy") ? copy.tensors().data() : copy.find(tensors[i].name);
    require(found != nullptr && found->type == tensors[i].type && found->shape == tensors[i].shape, "the same tensor");
    require(read(copy, *found, 0, found->elements) == contents[i], "the same elements");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // What chooses the parts comes last, so that an input begins as a file does.
  constexpr std::size_t kChoices = 32;
  const std::size_t end = size - std::min(size, kChoices);
  const fuzz::MemoryFile memory({data, end});
  fuzz::Input input(data + end, size - end);
  std::vector<FileTensor> tensors;
  std::vector<Bytes> contents;
  try {
    const TensorFile file(memory.path());
    for (const FileTensor& tensor : file.tensors()) {
      require(tensor.bytes == tensor.elements * size_of(tensor.type), "bytes are those of the elements");
      require(tensor.bytes <= 1032 * static_cast<std::int64_t>(size), "no more than the file can hold");
      require(file.find(tensor.name) == &tensor, "a tensor is found by its name");
      if (tensor.bytes > kMost) continue;
      tensors.push_back(tensor);
      contents.push_back(read(file, tensor, 0, tensor.elements));
      require_parts(file, tensor, contents.back(), input);
    }
  } catch (const FileError& error) {
    require(std::string(error.what()).starts_with(memory.path() + ": byte "), "an error names file and byte");
    return 0;
  }
  require_copy("x.safetensors", tensors, contents);
  require_copy("x.npz", tensors, contents);
  if (tensors.size() == 1) require_copy("x.npy", tensors, contents);
  return 0;
}
