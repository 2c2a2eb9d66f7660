#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/file.h"
#include "data/random.h"
#include "tidemark/data.h"

namespace tidemark::data {
namespace {

class Text final : public Source {
 public:
  Text(File file, Split split, const TextOptions& options)
      : file_(std::move(file)), context_(options.context), seed_(options.seed), moving_(split == Split::kTrain) {
    const auto total = static_cast<std::int64_t>(file_.bytes.size());
    const auto cut = total - static_cast<std::int64_t>(static_cast<double>(total) * options.holdout);
    begin_ = moving_ ? 0 : cut;
    const std::int64_t length = moving_ ? cut : total - cut;
    rows_ = length / context_ - 1;  // so that rows fit wherever the first one begins
    if (rows_ < 1) {
      fail(file_.path, total,
           std::string("is too short: the ") + (moving_ ? "training" : "test") + " part has " + std::to_string(length) +
               " bytes, and rows of " + std::to_string(context_) + " tokens need at least " +
               std::to_string(2 * static_cast<std::uint64_t>(context_)));
    }
  }
  std::int64_t size() const override { return rows_; }
  std::vector<std::string> files() const override { return {file_.path}; }
  Shape x_shape() const override { return {context_}; }
  Shape y_shape() const override { return {context_}; }
  DType x_dtype() const override { return i32; }
  void write(std::int64_t index, std::int64_t epoch, void* x, void* y) const override {
    const std::int64_t shift = moving_ ? draw(mix(seed_, static_cast<std::uint64_t>(epoch)), context_) : 0;
    const std::uint8_t* from = file_.bytes.data() + begin_ + shift + index * context_;
    auto* tokens = static_cast<std::int32_t*>(x);
    auto* targets = static_cast<std::int32_t*>(y);
    for (std::int64_t i = 0; i < context_; ++i) {
      tokens[i] = from[i];
      targets[i] = from[i + 1];
    }
  }

 private:
  File file_;
  std::int64_t context_;
  std::uint64_t seed_;
  bool moving_;
  std::int64_t begin_ = 0;
  std::int64_t rows_ = 0;
};

}  // namespace

std::shared_ptr<const Source> text_source(const std::string& file, Split split, const TextOptions& options) {
  if (options.context < 1) throw Error("text: .context must be at least 1, but is " + std::to_string(options.context));
  if (!(options.holdout >= 0 && options.holdout < 1)) {
    throw Error("text: .holdout must be in [0, 1), but is " + std::to_string(options.holdout));
  }
  return std::make_shared<Text>(read_file(file, kMostBytes), split, options);
}

}  // namespace tidemark::data
