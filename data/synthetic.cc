#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "data/random.h"
#include "tidemark/data.h"

namespace tidemark::data {
namespace {

// Labels and tokens are 32 bits wide, and with sizes of as many bits no sum below overflows.
constexpr std::int64_t kMostSize = std::numeric_limits<std::int32_t>::max();

void require_size(std::int64_t value, const char* option, std::int64_t most = kMostSize) {
  if (value < 1 || value > most) {
    throw Error(std::string("synthetic: ") + option + " must be from 1 to " + std::to_string(most) + ", but is " +
                std::to_string(value));
  }
}

// In [0, 1).
float unit(std::uint64_t bits) { return static_cast<float>(bits >> 40) * 0x1p-24f; }

// The splits draw other examples of the same kind.
std::uint64_t example_key(std::uint64_t seed, Split split, std::int64_t index) {
  return mix(seed, split == Split::kTrain ? 1u : 2u, static_cast<std::uint64_t>(index));
}

// A class is a plane wave for each channel: its directions and phase follow from the class alone.
class Images final : public Source {
 public:
  Images(const SyntheticImagesOptions& options, Split split) : options_(options), split_(split) {}
  std::int64_t size() const override { return options_.count; }
  Shape x_shape() const override { return {options_.channels, options_.image, options_.image}; }
  Shape y_shape() const override { return {}; }
  void write(std::int64_t index, std::int64_t /*epoch*/, void* x, void* y) const override {
    const std::uint64_t key = example_key(options_.seed, split_, index);
    const std::int64_t label = draw(mix(key, 0u), options_.classes);
    *static_cast<std::int32_t*>(y) = static_cast<std::int32_t>(label);
    auto* to = static_cast<float*>(x);
    const auto side = static_cast<std::size_t>(options_.image);
    std::vector<float> sine(side), cosine(side);
    for (std::int64_t channel = 0; channel < options_.channels; ++channel) {
      const std::uint64_t wave =
          mix(options_.seed, 3u, static_cast<std::uint64_t>(label), static_cast<std::uint64_t>(channel));
      const float step = 6.2831853f / static_cast<float>(side);
      const float across = step * (1 + 3 * unit(mix(wave, 0u)));
      const float down = step * (1 + 3 * unit(mix(wave, 1u)));
      const float phase = 6.2831853f * unit(mix(wave, 2u));
      for (std::size_t i = 0; i < side; ++i) {
        sine[i] = std::sin(across * static_cast<float>(i));
        cosine[i] = std::cos(across * static_cast<float>(i));
      }
      std::uint64_t counter = mix(key, 1u, static_cast<std::uint64_t>(channel));
      for (std::size_t row = 0; row < side; ++row) {
        const float s = std::sin(down * static_cast<float>(row) + phase);
        const float c = std::cos(down * static_cast<float>(row) + phase);
        for (std::size_t i = 0; i < side; ++i) {
          const float noise = 3.4641016f * (unit(mix(counter++)) - 0.5f);  // variance 1
          *to++ = s * cosine[i] + c * sine[i] + noise;
        }
      }
    }
  }

 private:
  SyntheticImagesOptions options_;
  Split split_;
};

// One token in ten is drawn at random; the others are a fixed function of the two before.
class Tokens final : public Source {
 public:
  Tokens(const SyntheticTokensOptions& options, Split split) : options_(options), split_(split) {}
  std::int64_t size() const override { return options_.count; }
  Shape x_shape() const override { return {options_.context}; }
  Shape y_shape() const override { return {options_.context}; }
  DType x_dtype() const override { return i32; }
  void write(std::int64_t index, std::int64_t /*epoch*/, void* x, void* y) const override {
    const std::uint64_t key = example_key(options_.seed, split_, index);
    auto* tokens = static_cast<std::int32_t*>(x);
    auto* targets = static_cast<std::int32_t*>(y);
    std::int64_t before = draw(mix(key, 0u), options_.vocabulary);
    std::int64_t last = draw(mix(key, 1u), options_.vocabulary);
    for (std::int64_t i = 0; i < options_.context; ++i) {
      tokens[i] = static_cast<std::int32_t>(last);
      const std::uint64_t bits = mix(key, 2u, static_cast<std::uint64_t>(i));
      const bool random = bits % 10 == 0;
      const std::int64_t next = random ? draw(bits, options_.vocabulary) : (last + before + 1) % options_.vocabulary;
      before = last;
      last = next;
      targets[i] = static_cast<std::int32_t>(next);
    }
  }

 private:
  SyntheticTokensOptions options_;
  Split split_;
};

}  // namespace

std::shared_ptr<const Source> synthetic_images(const SyntheticImagesOptions& options, Split split) {
  require_size(options.count, ".count", kMostExamples);
  require_size(options.channels, ".channels");
  require_size(options.image, ".image");
  require_size(options.classes, ".classes");
  return std::make_shared<Images>(options, split);
}

std::shared_ptr<const Source> synthetic_tokens(const SyntheticTokensOptions& options, Split split) {
  require_size(options.count, ".count", kMostExamples);
  require_size(options.context, ".context");
  require_size(options.vocabulary, ".vocabulary");
  return std::make_shared<Tokens>(options, split);
}

}  // namespace tidemark::data
