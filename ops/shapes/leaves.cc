// Leaves of elements that follow a rule.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "ops/shapes/moves.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace {

using detail::Number;

std::string text_of(const Number& number) { return std::to_string(number.value()); }

}  // namespace

Tensor arange(Number begin, Number end, Number step, SourceLocation where) {
  const double count = std::ceil((end.value() - begin.value()) / step.value());
  if (step.value() == 0 || !(count >= 0 && count <= static_cast<double>(kMaxBytes))) {
    ops::refuse("arange", "steps of " + text_of(step) + " do not lead from " + text_of(begin) + " to " + text_of(end),
                where);
  }
  const auto size = static_cast<std::int64_t>(count);
  const auto element = [&](std::int64_t i) { return begin.value() + static_cast<double>(i) * step.value(); };
  if (begin.whole() && end.whole() && step.whole()) {
    if (size > 0) {
      (void)begin.integer(where);
      (void)Number(static_cast<std::int64_t>(element(size - 1))).integer(where);
    }
    std::vector<std::int32_t> elements;
    elements.reserve(static_cast<std::size_t>(size));
    for (std::int64_t i = 0; i < size; ++i) elements.push_back(static_cast<std::int32_t>(element(i)));
    return tensor(std::span<const std::int32_t>(elements), {size}, where);
  }
  std::vector<float> elements;
  elements.reserve(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < size; ++i) elements.push_back(static_cast<float>(element(i)));
  return tensor(std::span<const float>(elements), {size}, where);
}

Tensor linspace(float begin, float end, std::int64_t count, SourceLocation where) {
  if (count < 0) ops::refuse("linspace", "the number of elements is " + std::to_string(count), where);
  const double step =
      count > 1 ? (static_cast<double>(end) - static_cast<double>(begin)) / static_cast<double>(count - 1) : 0;
  std::vector<float> elements;
  for (std::int64_t i = 0; i < count; ++i) {
    // From both ends, so that both are exact.
    elements.push_back(static_cast<float>(i < count / 2 || count == 1
                                              ? static_cast<double>(begin) + step * static_cast<double>(i)
                                              : static_cast<double>(end) - step * static_cast<double>(count - 1 - i)));
  }
  return tensor(std::span<const float>(elements), {count}, where);
}

Tensor eye(std::int64_t rows, std::int64_t columns, SourceLocation where) {
  if (rows < 0 || columns < 0) {
    ops::refuse("eye", "a matrix cannot be " + Shape({rows, columns}).to_string(), where);
  }
  std::vector<float> elements(static_cast<std::size_t>(Shape({rows, columns}).numel()));
  for (std::int64_t i = 0; i < std::min(rows, columns); ++i) elements[static_cast<std::size_t>(i * (columns + 1))] = 1;
  return tensor(std::span<const float>(elements), {rows, columns}, where);
}

Tensor zeros_like(const Tensor& x, SourceLocation where) { return zeros(x.shape(where), x.dtype(where), where); }

Tensor full_like(const Tensor& x, float value, SourceLocation where) {
  if (x.dtype(where) == f32) return full(x.shape(where), value, where);
  Tensor out = zeros_like(x, where);
  const std::vector<float> elements(static_cast<std::size_t>(out.numel(where)), value);
  out.assign(std::span<const float>(elements), where);
  return out;
}

Tensor ones_like(const Tensor& x, SourceLocation where) { return full_like(x, 1, where); }

}  // namespace tidemark
