// Reductions against double precision over all kinds of dimensions, orders against the standard library's, special
// values, and the errors of wrong calls.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark {
namespace {

using ::testing::HasSubstr;

using Floats = std::vector<float>;
using Doubles = std::vector<double>;
using Integers = std::vector<std::int32_t>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

class Reductions : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .seed = 9}};
};

// f of the elements of each output, in row-major order of the dimensions that are left.
Doubles reference(const Floats& x, const Shape& shape, const std::vector<int>& dims,
                  const std::function<double(const Doubles&)>& f) {
  std::vector<Doubles> groups;
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    std::int64_t rest = i;
    std::int64_t group = 0;
    std::int64_t step = 1;
    for (int d = shape.rank() - 1; d >= 0; --d) {
      if (std::ranges::find(dims, d) == dims.end()) {
        group += rest % shape[d] * step;
        step *= shape[d];
      }
      rest /= shape[d];
    }
    groups.resize(static_cast<std::size_t>(step));
    groups[static_cast<std::size_t>(group)].push_back(static_cast<double>(x[static_cast<std::size_t>(i)]));
  }
  Doubles out;
  for (const Doubles& group : groups) out.push_back(f(group));
  return out;
}

double total_of(const Doubles& x, const std::function<double(double)>& f) {
  double total = 0;
  for (const double v : x) total += f(v);
  return total;
}

double variance_of(const Doubles& x, double correction) {
  const double n = static_cast<double>(x.size());
  const double mean = total_of(x, [](double v) { return v; }) / n;
  return total_of(x, [&](double v) { return (v - mean) * (v - mean); }) / (n - correction);
}

void expect_near(const Tensor& actual, const Doubles& expected, double tolerance, const std::string& what) {
  const Floats values = actual.to_vector();
  ASSERT_EQ(values.size(), expected.size()) << what;
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(values[i]), expected[i], tolerance * std::fabs(expected[i])) << what << ", " << i;
  }
}

struct Case {
  const char* name;
  std::function<Tensor(const Tensor&, std::span<const int>)> op;
  std::function<double(const Doubles&)> reference;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"var", [](const Tensor& x, std::span<const int> dims) { return var(x, dims); },
       [](const Doubles& x) { return variance_of(x, 1); }},
      {"std", [](const Tensor& x, std::span<const int> dims) { return std(x, dims, {.correction = 0}); },
       [](const Doubles& x) { return std::sqrt(variance_of(x, 0)); }},
      {"norm", [](const Tensor& x, std::span<const int> dims) { return norm(x, dims); },
       [](const Doubles& x) { return std::sqrt(total_of(x, [](double v) { return v * v; })); }},
      {"norm 1", [](const Tensor& x, std::span<const int> dims) { return norm(x, dims, {.p = 1}); },
       [](const Doubles& x) { return total_of(x, [](double v) { return std::fabs(v); }); }},
      {"norm 3", [](const Tensor& x, std::span<const int> dims) { return norm(x, dims, {.p = 3}); },
       [](const Doubles& x) { return std::cbrt(total_of(x, [](double v) { return std::fabs(v * v * v); })); }},
      {"amax", [](const Tensor& x, std::span<const int> dims) { return amax(x, dims); },
       [](const Doubles& x) { return *std::ranges::max_element(x); }},
      {"amin", [](const Tensor& x, std::span<const int> dims) { return amin(x, dims); },
       [](const Doubles& x) { return *std::ranges::min_element(x); }},
      {"logsumexp", [](const Tensor& x, std::span<const int> dims) { return logsumexp(x, dims); },
       [](const Doubles& x) { return std::log(total_of(x, [](double v) { return std::exp(v); })); }},
      {"prod", [](const Tensor& x, std::span<const int> dims) { return prod(x, dims); },
       [](const Doubles& x) { return std::accumulate(x.begin(), x.end(), 1.0, std::multiplies<>()); }}};
  return all;
}

TEST_F(Reductions, AnyDimensionsAreThoseOfDoublePrecision) {
  const std::pair<Shape, std::vector<std::vector<int>>> shapes[] = {
      {{3, 4, 2, 5, 3}, {{0}, {4}, {0, 2, 4}, {1, 3}, {0, 1, 2, 3, 4}, {2, 3}}},
      {{2, 1, 300, 5}, {{2}, {0, 1, 2}, {1, 2, 3}}},
      {{70001}, {{0}}},
      {{3, 33001}, {{1}, {0}, {0, 1}}},
      {{5000, 7}, {{0}}},
      {{2, 90, 523}, {{1}, {0, 1}, {0, 2}}}};
  for (const auto& [shape, all_dims] : shapes) {
    // Around 1, so that products are no extremes.
    const Tensor x = uniform(shape, 0.75f, 1.3f);
    const Floats values = x.to_vector();
    for (const std::vector<int>& dims : all_dims) {
      for (const Case& c : cases()) {
        const std::string what = std::string(c.name) + " of " + shape.to_string() + ", " + std::to_string(dims.size()) +
                                 " dimensions from " + std::to_string(dims[0]);
        const Doubles expected = reference(values, shape, dims, c.reference);
        if (std::ranges::any_of(expected, [](double v) { return std::fabs(v) < 1e-37 || std::fabs(v) > 1e38; }))
          continue;
        expect_near(c.op(x, dims), expected, 2e-6, what);
      }
    }
  }
}

TEST_F(Reductions, LargeMeansAndMagnitudesLoseNothing) {
  const std::int64_t rows = 3000;
  Floats values;
  for (const float v : normal({rows, 5}, 0, 1).to_vector()) values.push_back(v + 1e6f);
  const Tensor x = parameter(tensor(values, {rows, 5}), "x");
  const auto variance = [](const Doubles& v) { return variance_of(v, 1); };
  expect_near(var(x, {0}), reference(values, {rows, 5}, {0}, variance), 1e-6, "columns");
  expect_near(var(x), reference(values, {rows, 5}, {0, 1}, variance), 1e-6, "all");
  var(x).backward();
  const Doubles mean = reference(values, {rows, 5}, {0, 1}, [](const Doubles& v) {
    return total_of(v, [](double e) { return e; }) / static_cast<double>(v.size());
  });
  const Floats gradient = x.grad().to_vector();
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const double expected = 2 * (static_cast<double>(values[i]) - mean[0]) / static_cast<double>(values.size() - 1);
    EXPECT_NEAR(static_cast<double>(gradient[i]), expected, 1e-5 * 2 / static_cast<double>(values.size())) << i;
  }
  for (const float size : {1e-42f, 1e-30f, 1e30f}) {
    expect_near(norm(full({100}, size)), {10.0 * static_cast<double>(size)}, 1e-6, "norm");
    expect_near(std(tensor({size, -size}, {2}), {.correction = 0}), {static_cast<double>(size)}, 1e-6, "std");
  }
  expect_near(logsumexp(full({4}, 1e30f)), {1e30}, 1e-6, "logsumexp");
}

TEST_F(Reductions, DimensionsStayOrVanish) {
  const Tensor x = zeros({2, 3, 4});
  const std::vector<int> dims = {-1, 0};
  EXPECT_EQ(sum(x, dims, {.keepdim = true}).shape(), Shape({1, 3, 1}));
  EXPECT_EQ(sum(x, {.keepdim = true}).shape(), Shape({1, 1, 1}));
  EXPECT_EQ(sum(x, {1}).shape(), Shape({2, 4}));
  EXPECT_EQ(mean(x, {0}, {.keepdim = true}).shape(), Shape({1, 3, 4}));
  EXPECT_EQ(var(x, {.keepdim = true}).shape(), Shape({1, 1, 1}));
  EXPECT_EQ(norm(x, dims).shape(), Shape({3}));
  EXPECT_EQ(amax(x, {}).shape(), x.shape());
  EXPECT_EQ(any(x, dims).dtype(), u8);
  EXPECT_EQ(count_nonzero(x).dtype(), i32);
  EXPECT_EQ(max(x, -2).first.shape(), Shape({2, 4}));
  EXPECT_EQ(max(x, -2, {.keepdim = true}).second.shape(), Shape({2, 1, 4}));
  EXPECT_EQ(argmin(x, 0).shape(), Shape({3, 4}));
  EXPECT_EQ(argmax(x, {.keepdim = true}).shape(), Shape({1, 1, 1}));
  EXPECT_EQ(topk(x, 2).first.shape(), Shape({2, 3, 2}));
  EXPECT_EQ(topk(x, 0, 1).second.shape(), Shape({2, 0, 4}));
  const Tensor number = tensor({3.5f}, {});
  EXPECT_EQ(sort(number).first.item(), 3.5f);
  EXPECT_EQ(max(number, 0).second.item<std::int32_t>(), 0);
  EXPECT_EQ(softmax(number).item(), 1);
}

// As PyTorch: a number has dimension 0, or -1.
TEST_F(Reductions, NumbersHaveADimension) {
  using Along = std::function<Tensor(const Tensor&, int)>;
  const std::pair<const char*, Along> all_of_them[] = {
      {"sum", [](const Tensor& x, int dim) { return sum(x, {dim}); }},
      {"mean", [](const Tensor& x, int dim) { return mean(x, {dim}); }},
      {"amax", [](const Tensor& x, int dim) { return amax(x, {dim}); }},
      {"amin", [](const Tensor& x, int dim) { return amin(x, {dim}); }},
      {"logsumexp", [](const Tensor& x, int dim) { return logsumexp(x, {dim}); }},
      {"norm", [](const Tensor& x, int dim) { return norm(x, {dim}); }},
      {"prod", [](const Tensor& x, int dim) { return prod(x, {dim}); }},
      {"max", [](const Tensor& x, int dim) { return max(x, dim).first; }},
      {"min", [](const Tensor& x, int dim) { return min(x, dim).first; }},
      {"cumsum", [](const Tensor& x, int dim) { return cumsum(x, dim); }},
      {"cumprod", [](const Tensor& x, int dim) { return cumprod(x, dim); }},
      {"sort", [](const Tensor& x, int dim) { return sort(x, dim).first; }},
      {"topk", [](const Tensor& x, int dim) { return topk(x, 1, dim).first; }}};
  for (const int dim : {0, -1}) {
    for (const auto& [name, along] : all_of_them) {
      const Tensor x = parameter(tensor({2.5f}, {}), "x");
      const Tensor y = along(x, dim);
      EXPECT_EQ(y.shape(), Shape()) << name;
      EXPECT_EQ(y.item(), 2.5f) << name;
      y.backward();
      EXPECT_EQ(x.grad().item(), 1) << name;
    }
    const Tensor x = tensor({2.5f}, {});
    EXPECT_EQ(sum(x, {dim}, {.keepdim = true}).shape(), Shape());
    EXPECT_TRUE(std::isnan(var(x, {dim}).item()));
    EXPECT_TRUE(std::isnan(std(x, {dim}).item()));
    EXPECT_EQ(std(x, {dim}, {.correction = 0}).item(), 0);
    EXPECT_EQ(count_nonzero(x, {dim}).item<std::int32_t>(), 1);
    EXPECT_EQ(any(x, {dim}).item<std::int32_t>(), 1);
    EXPECT_EQ(all(x, {dim}).item<std::int32_t>(), 1);
    EXPECT_EQ(topk(x, 1, dim).second.item<std::int32_t>(), 0);
    EXPECT_EQ(argmax(x, dim).item<std::int32_t>(), 0);
    EXPECT_EQ(softmax(x, dim).item(), 1);
  }
}

// Evenly among equal elements, as PyTorch; where there are NaNs, max and min share among them.
TEST_F(Reductions, ExtremesShareTheirGradients) {
  const auto gradient_of = [](const Floats& values, const std::function<Tensor(const Tensor&)>& f) {
    const Tensor x = parameter(tensor(values, {static_cast<std::int64_t>(values.size())}), "x");
    affine(f(x), 6, 0).backward();
    return x.grad().to_vector();
  };
  const auto max_of = [](const Tensor& x) { return max(x); };
  const auto min_of = [](const Tensor& x) { return min(x); };
  const auto amax_of = [](const Tensor& x) { return amax(x); };
  const Floats ties = {1, 3, 3, 2, 3};
  EXPECT_EQ(gradient_of(ties, max_of), (Floats{0, 2, 2, 0, 2}));
  EXPECT_EQ(gradient_of(ties, amax_of), (Floats{0, 2, 2, 0, 2}));
  EXPECT_EQ(gradient_of(ties, min_of), (Floats{6, 0, 0, 0, 0}));
  const Floats bad = {kNan, 1, kNan, 5};
  EXPECT_EQ(gradient_of(bad, max_of), (Floats{3, 0, 3, 0}));
  EXPECT_EQ(gradient_of(bad, min_of), (Floats{3, 0, 3, 0}));
  for (const float g : gradient_of(bad, amax_of)) EXPECT_TRUE(std::isnan(g));
  Floats values(100000, 1.0f);
  values[3] = values[99999] = kNan;
  const Floats gradient = gradient_of(values, max_of);
  for (std::size_t i = 0; i < gradient.size(); ++i) EXPECT_EQ(gradient[i], i == 3 || i == 99999 ? 3.0f : 0.0f) << i;
  EXPECT_TRUE(std::isnan(min(tensor(values, {100000})).item()));
  EXPECT_EQ(max(tensor({4, 1, 3.f, 2}, {2, 2})).item(), 4);
  EXPECT_EQ(min(zeros({2, 3}), {.keepdim = true}).shape(), Shape({1, 1}));
}

// The order that sort() promises, written down once more.
bool before(float a, float b, bool descending) {
  const auto rank = [](float v) { return std::isnan(v) ? std::pair(1, 0.0f) : std::pair(0, v); };
  return descending ? rank(b) < rank(a) : rank(a) < rank(b);
}

TEST_F(Reductions, OrdersAreStableSorts) {
  const Floats palette = {kNan, -kInf, kInf, -0.0f, 0.0f, 1e-42f, -1e-42f, 1, -1, 3e38f};
  const Shape shapes[] = {{3, 2000}, {2, 700, 19}, {40, 3}, {1, 257}};
  for (const Shape& shape : shapes) {
    for (const bool few : {false, true}) {
      Floats values = normal(shape, 0, 1).to_vector();
      if (few) {
        for (float& v : values) v = palette[static_cast<std::size_t>(std::fabs(v) * 1e4f) % palette.size()];
      }
      const Tensor x = tensor(values, shape);
      for (int dim = 0; dim < shape.rank(); ++dim) {
        const std::int64_t size = shape[dim];
        std::int64_t inner = 1;
        for (int d = dim + 1; d < shape.rank(); ++d) inner *= shape[d];
        for (const bool descending : {false, true}) {
          Integers expected(values.size());
          for (std::int64_t line = 0; line < shape.numel() / size; ++line) {
            const std::int64_t base = line / inner * size * inner + line % inner;
            std::vector<std::int32_t> order(static_cast<std::size_t>(size));
            std::iota(order.begin(), order.end(), 0);
            std::ranges::stable_sort(order, [&](std::int32_t a, std::int32_t b) {
              return before(values[static_cast<std::size_t>(base + a * inner)],
                            values[static_cast<std::size_t>(base + b * inner)], descending);
            });
            for (std::int64_t i = 0; i < size; ++i) {
              expected[static_cast<std::size_t>(base + i * inner)] = order[static_cast<std::size_t>(i)];
            }
          }
          SCOPED_TRACE(shape.to_string() + ", dimension " + std::to_string(dim));
          EXPECT_EQ(argsort(x, dim, {.descending = descending}).to_vector<std::int32_t>(), expected);
          const auto [sorted, indices] = sort(x, dim, {.descending = descending});
          EXPECT_EQ(indices.to_vector<std::int32_t>(), expected);
          const std::int64_t k = std::max<std::int64_t>(1, size / 3);
          for (const std::int64_t some : {std::int64_t{1}, k, size}) {
            const auto [values_of_k, indices_of_k] = topk(x, some, dim, {.largest = descending});
            EXPECT_EQ(indices_of_k.to_vector<std::int32_t>(), slice(indices, dim, 0, some).to_vector<std::int32_t>());
            const Floats a = values_of_k.to_vector();
            const Floats b = slice(sorted, dim, 0, some).to_vector();
            EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0) << some << " of " << size;
          }
        }
      }
    }
  }
}

TEST_F(Reductions, ExtremesOfLongLinesAreTheFirst) {
  const std::int64_t n = 100000;
  Floats values(n, 1.0f);
  values[50000] = values[99999] = 7;
  values[40000] = values[70000] = -7;
  const auto of = [&](bool largest) {
    const Tensor x = tensor(values, {n});
    const auto [value, index] = largest ? max(x, 0) : min(x, 0);
    EXPECT_EQ(index.item<std::int32_t>(), (largest ? argmax(x) : argmin(x)).item<std::int32_t>());
    const auto columns = largest ? max(tensor(values, {n / 4, 4}), 0) : min(tensor(values, {n / 4, 4}), 0);
    const std::int64_t column = index.item<std::int32_t>() % 4;
    EXPECT_EQ(columns.second.to_vector<std::int32_t>()[static_cast<std::size_t>(column)],
              index.item<std::int32_t>() / 4);
    return index.item<std::int32_t>();
  };
  EXPECT_EQ(of(true), 50000);
  EXPECT_EQ(of(false), 40000);
  values[90000] = values[60000] = kNan;
  EXPECT_EQ(of(true), 60000);
  EXPECT_EQ(of(false), 60000);
  std::ranges::fill(values, -kInf);
  EXPECT_EQ(of(true), 0);
  EXPECT_EQ(of(false), 0);
}

TEST_F(Reductions, SoftmaxOfColumnsIsThatOfRows) {
  const Tensor x = normal({3, 37, 201}, 0, 3);
  for (const auto& f : {softmax, log_softmax}) {
    const Floats a = f(x, 1, SourceLocation::current()).to_vector();
    const Floats b = transpose(f(transpose(x, 1, 2), -1, SourceLocation::current()), 1, 2).to_vector();
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-6f * (1 + std::fabs(b[i]))) << i;
  }
}

TEST_F(Reductions, RunningSumsKeepTheirDigits) {
  const std::int64_t n = 1 << 20;
  const Tensor x = parameter(full({n, 2}, 0.1f), "x");
  const Floats sums = cumsum(x, 0).to_vector();
  const Floats rows = cumsum(full({n}, 0.1f), 0).to_vector();
  for (std::int64_t i = 0; i < n; i += 9973) {
    const auto expected = static_cast<float>(static_cast<double>(0.1f) * static_cast<double>(i + 1));
    EXPECT_FLOAT_EQ(sums[static_cast<std::size_t>(2 * i + 1)], expected) << i;
    EXPECT_FLOAT_EQ(rows[static_cast<std::size_t>(i)], expected) << i;
  }
}

TEST_F(Reductions, CountsTakeEveryType) {
  Tensor bytes = zeros({40, 7}, u8);
  std::vector<std::uint8_t> mask(280, 1);
  mask[2 * 7 + 3] = 0;
  for (std::size_t row = 0; row < 40; ++row) mask[row * 7 + 6] = 0;
  bytes.assign(std::span<const std::uint8_t>(mask));
  EXPECT_EQ(all(bytes, {0}).to_vector<std::int32_t>(), (Integers{1, 1, 1, 0, 1, 1, 0}));
  EXPECT_EQ(any(bytes, {0}).to_vector<std::int32_t>(), (Integers{1, 1, 1, 1, 1, 1, 0}));
  EXPECT_EQ(count_nonzero(bytes, {0}).to_vector<std::int32_t>(), (Integers{40, 40, 40, 39, 40, 40, 0}));
  EXPECT_EQ(any(tensor({0, 0, -5}, {3})).item<std::int32_t>(), 1);
  EXPECT_EQ(all(tensor({0.0f, kNan}, {2})).item<std::int32_t>(), 0);
  EXPECT_EQ(any(tensor({-0.0f, kNan}, {2})).item<std::int32_t>(), 1);
  EXPECT_EQ(any(zeros({0})).item<std::int32_t>(), 0);
  EXPECT_EQ(all(zeros({0})).item<std::int32_t>(), 1);
}

TEST_F(Reductions, DrawsFollowTheProbabilities) {
  const std::int64_t draws = 40000;
  const Floats weights = {0, 1, 2, 0, 5, 0};
  const Integers again = multinomial(tensor(weights, {6}), draws, {.replacement = true}).to_vector<std::int32_t>();
  Floats rows;
  for (std::int64_t i = 0; i < draws; ++i) rows.insert(rows.end(), weights.begin(), weights.end());
  const Integers different = multinomial(tensor(rows, {draws, 6}), 3).to_vector<std::int32_t>();
  Doubles first(6);
  Doubles replaced(6);
  Doubles second(6);
  for (std::size_t i = 0; i < static_cast<std::size_t>(draws); ++i) {
    ++replaced[static_cast<std::size_t>(again[i])];
    ++first[static_cast<std::size_t>(different[3 * i])];
    ++second[static_cast<std::size_t>(different[3 * i + 1])];
    EXPECT_EQ(std::set<std::int32_t>(different.begin() + static_cast<std::ptrdiff_t>(3 * i),
                                     different.begin() + static_cast<std::ptrdiff_t>(3 * i + 3)),
              (std::set<std::int32_t>{1, 2, 4}));
  }
  for (std::size_t k = 0; k < 6; ++k) {
    const double p = static_cast<double>(weights[k]) / 8;
    double next = 0;  // that k comes second: after each other one
    for (std::size_t other = 0; other < 6; ++other) {
      const double q = static_cast<double>(weights[other]) / 8;
      if (other != k) next += q * p / (1 - q);
    }
    // Five standard deviations.
    const double slack = 5 * std::sqrt(0.25 * static_cast<double>(draws));
    EXPECT_NEAR(replaced[k], p * static_cast<double>(draws), p == 0 ? 0 : slack) << k;
    EXPECT_NEAR(first[k], p * static_cast<double>(draws), p == 0 ? 0 : slack) << k;
    EXPECT_NEAR(second[k], next * static_cast<double>(draws), p == 0 ? 0 : slack) << k;
  }
  // Probabilities of any size count alike.
  const Tensor tiny = tensor({1e-42f, 0, 1e-42f, 3e38f}, {4});
  EXPECT_EQ(multinomial(tiny, 1).item<std::int32_t>(), 3);
  const Integers all_three = multinomial(tiny, 3).to_vector<std::int32_t>();
  EXPECT_EQ(all_three[0], 3);
}

TEST_F(Reductions, WrongCallsSayWhatIsWrong) {
  const Tensor x = zeros({2, 3});
  const Tensor nothing = zeros({2, 0});
  const std::vector<int> nine(9, 0);
  const std::pair<std::function<void()>, std::vector<std::string>> calls[] = {
      {[&] {
         (void)var(x, {0, -2});
       },
       {"[var] x is [2, 3]", "dimension -2", "named twice", "reductions_test.cc:"}},
      {[&] { (void)norm(x, {2}); }, {"[norm] x is [2, 3]", "dimension 2 does not exist", "reductions_test.cc:"}},
      {[&] { (void)sum(x, nine); }, {"[sum] x is [2, 3]", "named twice"}},
      {[&] { (void)norm(x, {.p = kNan}); }, {"[norm] p is NaN"}},
      {[&] { (void)norm(nothing, {1}, {.p = kInf}); }, {"[norm] x is [2, 0]", "empty"}},
      {[&] { (void)var(x, {.correction = kInf}); }, {"[var] correction", "finite"}},
      {[&] { (void)amax(nothing, {1}); }, {"[amax] x is [2, 0]", "empty", "reductions_test.cc:"}},
      {[&] { (void)max(nothing, 1); }, {"[max] x is [2, 0]", "empty"}},
      {[&] { (void)max(nothing); }, {"[max_of_all] x is [2, 0]", "empty", "reductions_test.cc:"}},
      {[&] { (void)min(zeros({3}, i32)); }, {"[min_of_all] x is [3] i32", "f32"}},
      {[&] { (void)sum(zeros({}), {1}); }, {"[sum] x is []", "dimension 1 does not exist"}},
      {[&] {
         (void)amin(zeros({}), {0, -1});
       },
       {"[amin] x is []", "named twice"}},
      {[&] { (void)topk(zeros({}), 2, 0); }, {"[topk] x is []", "k is 2"}},
      {[&] { (void)argmin(nothing); }, {"[argmin] x is [2, 0]", "empty"}},
      {[&] { (void)max(x, 2); }, {"[max] x is [2, 3]", "dimension 2"}},
      {[&] { (void)sort(x, -3); }, {"[sort] x is [2, 3]", "dimension -3"}},
      {[&] { (void)topk(x, 4); }, {"[topk] x is [2, 3]", "k is 4", "0 to 3"}},
      {[&] { (void)topk(x, -1, 0); }, {"[topk] x is [2, 3]", "k is -1", "0 to 2"}},
      {[&] { (void)cumsum(zeros({3}, i32), 0); }, {"[cumsum] x is [3] i32", "f32"}},
      {[&] { (void)any(zeros({3}, f16)); }, {"[any] x is [3] f16", "f32, i32 or u8"}},
      {[&] { (void)log_softmax(x, 2); }, {"[log_softmax] x is [2, 3]", "dimension 2"}},
      {[&] { (void)multinomial(x, 4); }, {"[multinomial] probabilities is [2, 3]", "count is 4", "0 to 3"}},
      {[&] { (void)multinomial(x, -1, {.replacement = true}); }, {"[multinomial]", "count is -1", "at least 0"}},
      {[&] { (void)multinomial(nothing, 0); }, {"[multinomial]", "empty"}},
      {[&] { (void)multinomial(x, 1).to_vector<std::int32_t>(); }, {"[multinomial]", "row 0 has 0 above zero"}},
      {[&] {
         (void)multinomial(tensor({1, 0, 2.f}, {3}), 3).to_vector<std::int32_t>();
       },
       {"[multinomial]", "2 above zero", "3 are needed"}},
      {[&] {
         (void)multinomial(tensor({1, kNan, 2}, {3}), 1).to_vector<std::int32_t>();
       },
       {"[multinomial]", "class 1", "finite"}},
      {[&] {
         (void)multinomial(tensor({1, -1, 2.f}, {3}), 1).to_vector<std::int32_t>();
       },
       {"[multinomial]", "class 1", "not negative"}}};
  for (const auto& [call, parts] : calls) {
    try {
      call();
      ADD_FAILURE() << "not refused: " << parts[0] << parts.back();
    } catch (const Error& error) {
      for (const std::string& part : parts) EXPECT_THAT(error.what(), HasSubstr(part));
    }
  }
}

}  // namespace
}  // namespace tidemark
