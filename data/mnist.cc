// The idx format: two zero bytes, the element type (8: unsigned byte), the number of dimensions, each dimension as a
// big-endian 32-bit number, and the elements.
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "data/file.h"
#include "tidemark/data.h"

namespace tidemark::data {
namespace {

constexpr std::int64_t kSide = 28;
constexpr std::int64_t kPixels = kSide * kSide;
constexpr int kClasses = 10;
constexpr float kMean = 0.1307f;
constexpr float kStddev = 0.3081f;

std::uint32_t big_endian(const File& file, std::int64_t at) {
  const std::uint8_t* b = file.bytes.data() + at;
  return (std::uint32_t{b[0]} << 24) | (std::uint32_t{b[1]} << 16) | (std::uint32_t{b[2]} << 8) | std::uint32_t{b[3]};
}

// Checks the header and the size; returns the number of examples, whose elements start at `offset`.
std::int64_t check_idx(const File& file, int rank, std::int64_t example_bytes, std::int64_t& offset) {
  const auto size = static_cast<std::int64_t>(file.bytes.size());
  offset = 4 + 4 * rank;
  if (size < offset) fail(file.path, size, "ends within the header of " + std::to_string(offset) + " bytes");
  const std::uint32_t magic = 0x0800u + static_cast<std::uint32_t>(rank);
  if (big_endian(file, 0) != magic) {
    fail(file.path, 0,
         "the magic number is " + std::to_string(big_endian(file, 0)) + ", but should be " + std::to_string(magic));
  }
  for (int dim = 1; dim < rank; ++dim) {
    const std::int64_t at = 4 + 4 * dim;
    if (big_endian(file, at) != kSide) {
      fail(file.path, at, "images are " + std::to_string(big_endian(file, at)) + " wide or high, but should be 28");
    }
  }
  const std::int64_t count = big_endian(file, 4);
  if (count == 0) fail(file.path, 4, "holds no examples");
  const std::int64_t expected = offset + count * example_bytes;
  if (size < expected) {
    fail(file.path, size,
         "ends too early: " + std::to_string(count) + " examples take " + std::to_string(expected) + " bytes");
  }
  if (size > expected) fail(file.path, expected, std::to_string(size - expected) + " bytes too many");
  return count;
}

class Mnist final : public Source {
 public:
  Mnist(File images, File labels) : images_(std::move(images)), labels_(std::move(labels)) {
    count_ = check_idx(images_, 3, kPixels, images_offset_);
    const std::int64_t label_count = check_idx(labels_, 1, 1, labels_offset_);
    if (label_count != count_) {
      fail(labels_.path, 4, std::to_string(label_count) + " labels for " + std::to_string(count_) + " images");
    }
    for (std::int64_t i = 0; i < count_; ++i) {
      if (label(i) >= kClasses) {
        fail(labels_.path, labels_offset_ + i, "label " + std::to_string(label(i)) + ", but classes are 0 to 9");
      }
    }
  }
  std::int64_t size() const override { return count_; }
  std::vector<std::string> files() const override { return {images_.path, labels_.path}; }
  Shape x_shape() const override { return {1, kSide, kSide}; }
  Shape y_shape() const override { return {}; }
  void write(std::int64_t index, std::int64_t /*epoch*/, void* x, void* y) const override {
    const std::uint8_t* from = images_.bytes.data() + images_offset_ + index * kPixels;
    auto* to = static_cast<float*>(x);
    for (std::int64_t i = 0; i < kPixels; ++i) to[i] = (static_cast<float>(from[i]) / 255.0f - kMean) / kStddev;
    *static_cast<std::int32_t*>(y) = label(index);
  }

 private:
  std::int32_t label(std::int64_t index) const {
    return labels_.bytes[static_cast<std::size_t>(labels_offset_ + index)];
  }

  File images_, labels_;
  std::int64_t images_offset_ = 0, labels_offset_ = 0;
  std::int64_t count_ = 0;
};

File read_plain_or_gz(const std::filesystem::path& dir, const std::string& name, std::int64_t most) {
  const std::filesystem::path plain = dir / name;
  const std::filesystem::path packed = dir / (name + ".gz");
  std::error_code error;  // what keeps a file from being seen keeps it from being read, which says so
  const bool only_packed = !std::filesystem::exists(plain, error) && std::filesystem::exists(packed, error);
  return read_file(only_packed ? packed : plain, most);
}

}  // namespace

std::shared_ptr<const Source> mnist_source(const std::string& dir, Split split) {
  const std::string prefix = split == Split::kTrain ? "train" : "t10k";
  File images = read_plain_or_gz(dir, prefix + "-images-idx3-ubyte", kMostBytes);
  File labels = read_plain_or_gz(dir, prefix + "-labels-idx1-ubyte", kMostBytes - std::ssize(images.bytes));
  return std::make_shared<Mnist>(std::move(images), std::move(labels));
}

}  // namespace tidemark::data
