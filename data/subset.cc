#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>

#include "data/random.h"
#include "tidemark/data.h"

namespace tidemark::data {
namespace {

void require(bool holds, const char* what, const std::string& message, SourceLocation where) {
  if (!holds) throw Error("[data] " + std::string(what) + ": " + message + " (at " + to_string(where) + ")");
}

class Subset final : public Source {
 public:
  Subset(std::shared_ptr<const Source> source, std::vector<std::int64_t> indices)
      : source_(std::move(source)), indices_(std::move(indices)) {}
  std::int64_t size() const override { return std::ssize(indices_); }
  Shape x_shape() const override { return source_->x_shape(); }
  Shape y_shape() const override { return source_->y_shape(); }
  DType x_dtype() const override { return source_->x_dtype(); }
  DType y_dtype() const override { return source_->y_dtype(); }
  std::vector<std::string> files() const override { return source_->files(); }
  void write(std::int64_t index, std::int64_t epoch, void* x, void* y) const override {
    source_->write(indices_[static_cast<std::size_t>(index)], epoch, x, y);
  }

 private:
  std::shared_ptr<const Source> source_;
  std::vector<std::int64_t> indices_;
};

}  // namespace

std::shared_ptr<const Source> subset(std::shared_ptr<const Source> source, std::vector<std::int64_t> indices,
                                     SourceLocation where) {
  require(source != nullptr, "subset", "there is no source: the pointer is null", where);
  require(std::ssize(indices) <= kMostExamples, "subset",
          std::to_string(indices.size()) + " indices, but a source has at most " + std::to_string(kMostExamples) +
              " examples",
          where);
  const std::int64_t size = source->size();
  for (std::size_t i = 0; i < indices.size(); ++i) {
    require(indices[i] >= 0 && indices[i] < size, "subset",
            "index " + std::to_string(i) + " is " + std::to_string(indices[i]) + ", but the source has " +
                std::to_string(size) + " examples",
            where);
  }
  return std::make_shared<Subset>(std::move(source), std::move(indices));
}

Parts split(const std::shared_ptr<const Source>& source, double train_part, std::uint64_t seed, SourceLocation where) {
  require(source != nullptr, "split", "there is no source: the pointer is null", where);
  require(train_part > 0 && train_part < 1, "split",
          "the part to train on must be between 0 and 1, but is " + std::to_string(train_part), where);
  const std::int64_t size = source->size();
  const std::int64_t count = std::llround(train_part * static_cast<double>(size));
  require(count > 0 && count < size, "split",
          std::to_string(train_part) + " of " + std::to_string(size) + " examples leave the " +
              (count > 0 ? "validation" : "training") + " part empty",
          where);
  // Another key than a loader's of the same seed, which would draw the same order again.
  std::vector<std::int64_t> order = permutation(size, mix(seed, 4u));
  std::vector<std::int64_t> validation(order.begin() + count, order.end());
  order.resize(static_cast<std::size_t>(count));
  // In the source's own order, for sources that read on from where they were.
  std::sort(order.begin(), order.end());
  std::sort(validation.begin(), validation.end());
  return {subset(source, std::move(order), where), subset(source, std::move(validation), where)};
}

}  // namespace tidemark::data
