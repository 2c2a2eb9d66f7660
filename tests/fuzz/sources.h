// Reads every example of a source into buffers of exactly its size, and compares sources.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tests/fuzz/input.h"
#include "tidemark/data.h"

namespace tidemark::fuzz {

struct Example {
  std::vector<std::uint8_t> x, y;
  bool operator==(const Example&) const = default;
};

inline Example read_example(const data::Source& source, std::int64_t index, std::int64_t epoch) {
  Example example;
  example.x.resize(static_cast<std::size_t>(source.x_shape().numel() * size_of(source.x_dtype())));
  example.y.resize(static_cast<std::size_t>(source.y_shape().numel() * size_of(source.y_dtype())));
  source.write(index, epoch, example.x.data(), example.y.data());
  return example;
}

// Images are finite numbers, and classes are 0 to 9.
inline void require_images(const data::Source& source) {
  require(source.size() > 0, "a source has examples");
  for (std::int64_t i = 0; i < source.size(); ++i) {
    const Example example = read_example(source, i, 0);
    std::int32_t label = -1;
    std::memcpy(&label, example.y.data(), sizeof label);
    require(label >= 0 && label < 10, "a class is 0 to 9");
    for (std::size_t at = 0; at < example.x.size(); at += sizeof(float)) {
      float pixel = 0;
      std::memcpy(&pixel, example.x.data() + at, sizeof pixel);
      require(std::isfinite(pixel), "a pixel is finite");
    }
  }
}

// Both are refused, or hold the same images.
inline void require_same_images(const std::shared_ptr<const data::Source>& one,
                                const std::shared_ptr<const data::Source>& other) {
  require((one == nullptr) == (other == nullptr), "both files are read, or none");
  if (!one) return;
  require_images(*one);
  require(one->size() == other->size(), "both have as many examples");
  for (std::int64_t i = 0; i < one->size(); ++i) {
    require(read_example(*one, i, 0) == read_example(*other, i, 0), "both have the same examples");
  }
}

}  // namespace tidemark::fuzz
