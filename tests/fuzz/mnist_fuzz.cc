// Any two files as MNIST's images and labels: they are refused, or every example is one; packed and plain are the same.
#include <string>

#include "tests/fuzz/packed.h"
#include "tests/fuzz/sources.h"
#include "tidemark/error.h"

namespace {

using namespace tidemark;  // NOLINT(google-build-using-namespace)
using fuzz::require;

std::shared_ptr<const data::Source> read(const std::string& dir) {
  try {
    return data::mnist_source(dir);
  } catch (const FileError& error) {
    require(std::string(error.what()).starts_with(dir), "an error names the file");
    return nullptr;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr const char* kImages = "train-images-idx3-ubyte";
  static constexpr const char* kLabels = "train-labels-idx1-ubyte";
  fuzz::Input input(data, size);
  const std::vector<std::uint8_t> images = fuzz::unpack(input);
  const std::vector<std::uint8_t> labels = fuzz::unpack(input);
  const std::filesystem::path plain = fuzz::folder() / "plain";
  const std::filesystem::path packed = fuzz::folder() / "packed";
  const std::filesystem::path damaged = fuzz::folder() / "damaged";
  for (const auto& dir : {plain, packed, damaged}) std::filesystem::create_directories(dir);
  fuzz::write_file(plain / kImages, images);
  fuzz::write_file(plain / kLabels, labels);
  fuzz::write_file(packed / (std::string(kImages) + ".gz"), fuzz::gzip(images));
  fuzz::write_file(packed / (std::string(kLabels) + ".gz"), fuzz::gzip(labels));
  fuzz::write_file(damaged / (std::string(kImages) + ".gz"), input.rest());
  fuzz::write_file(damaged / kLabels, labels);

  fuzz::require_same_images(read(plain), read(packed));
  if (const auto luck = read(damaged)) fuzz::require_images(*luck);
  return 0;
}
