// What tests of tensor files share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/core/temporary_folder.h"
#include "tests/io/samples.h"
#include "tidemark/tensor_file.h"

namespace tidemark::test {

using ::testing::HasSubstr;

class FilesOfTensors : public ::testing::Test {
 protected:
  TensorFile open(const std::string& name, const std::string& content) const {
    folder_.write(name, content);
    return TensorFile(folder_ / name);
  }
  // What opening and reading all of it says; "none" where it is fine.
  std::string error(const std::string& name, const std::string& content) const {
    folder_.write(name, content);
    try {
      const TensorFile file(folder_ / name);
      for (const FileTensor& tensor : file.tensors()) bytes_of(file, tensor.name);
    } catch (const FileError& error) {
      const std::string text = error.what();
      const std::string path = folder_ / name + ": ";
      return text.starts_with(path) ? text.substr(path.size()) : "names no file: " + text;
    }
    return "none";
  }
  static std::string bytes_of(const TensorFile& file, const std::string& name) {
    const FileTensor& tensor = *file.find(name);
    std::string bytes(static_cast<std::size_t>(tensor.bytes), '\0');
    file.read(tensor, 0, tensor.elements, bytes.data());
    return bytes;
  }
  template <class T>
  static std::vector<T> elements_of(const TensorFile& file, const std::string& name) {
    const std::string bytes = bytes_of(file, name);
    std::vector<T> elements(bytes.size() / sizeof(T));
    std::memcpy(elements.data(), bytes.data(), bytes.size());
    return elements;
  }
  static std::vector<float> floats_of(const TensorFile& file, const std::string& name) {
    const FileTensor& tensor = *file.find(name);
    std::vector<float> floats(static_cast<std::size_t>(tensor.elements));
    file.read_f32(tensor, 0, tensor.elements, floats.data());
    return floats;
  }

  TemporaryFolder folder_;
};

}  // namespace tidemark::test
