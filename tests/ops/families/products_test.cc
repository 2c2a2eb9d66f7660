// Products against double precision for every way to broadcast and to transpose; long sums, bad values, errors.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
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

class Products : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .seed = 9}};
};

// The place of an operand's matrix for index `at` of the common batch.
std::int64_t matrix_of(const Shape& operand, const Shape& batch, std::int64_t at) {
  std::int64_t out = 0;
  std::int64_t step = 1;
  for (int i = 1; i <= batch.rank(); ++i) {
    const std::int64_t index = at % batch[-i];
    at /= batch[-i];
    if (i > operand.rank() - 2) continue;
    const std::int64_t size = operand[-i - 2];
    out += (size == 1 ? 0 : index) * step;
    step *= size;
  }
  return out;
}

void expect_near(const Floats& actual, const Doubles& expected, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double largest = 1e-30;
  for (const double value : expected) largest = std::max(largest, std::fabs(value));
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(double{actual[i]}, expected[i], 1e-5 * largest) << what << ", element " << i;
  }
}

TEST_F(Products, MatmulAndItsGradientsAreThoseOfDoublePrecision) {
  struct Case {
    Shape batch_a, batch_b, batch;
  };
  const std::vector<Case> cases = {{{}, {}, {}},
                                   {{4}, {}, {4}},
                                   {{}, {4}, {4}},
                                   {{2, 3}, {3}, {2, 3}},
                                   {{3}, {2, 1}, {2, 3}},
                                   {{2, 1, 2}, {1, 3, 1}, {2, 3, 2}},
                                   {{1, 1}, {2, 3}, {2, 3}},
                                   {{50}, {1}, {50}},
                                   {{40, 1}, {1, 2}, {40, 2}}};
  const auto shape_of = [](const Shape& batch, std::int64_t rows, std::int64_t columns, bool transposed) {
    std::vector<std::int64_t> dims(batch.dims().begin(), batch.dims().end());
    dims.push_back(transposed ? columns : rows);
    dims.push_back(transposed ? rows : columns);
    return Shape(dims);
  };
  for (const Case& c : cases) {
    for (const int flags : {0, 1, 2, 3}) {
      for (const std::int64_t m : {1, 5, 35}) {
        const bool ta = (flags & 1) != 0;
        const bool tb = (flags & 2) != 0;
        const std::int64_t k = 6;
        const std::int64_t n = m == 5 ? 1 : 7;
        const Tensor a = parameter(normal(shape_of(c.batch_a, m, k, ta), 0, 1), "a");
        const Tensor b = parameter(normal(shape_of(c.batch_b, k, n, tb), 0, 1), "b");
        const std::string what =
            a.shape().to_string() + " x " + b.shape().to_string() + ", transposed " + std::to_string(flags);
        const Tensor y = matmul(a, b, {.transpose_a = ta, .transpose_b = tb});
        ASSERT_EQ(y.shape(), shape_of(c.batch, m, n, false)) << what;
        const Tensor g = normal(y.shape(), 0, 1);
        sum(y * g).backward();
        const Floats av = a.to_vector();
        const Floats bv = b.to_vector();
        const Floats gv = g.to_vector();
        Doubles yv(gv.size());
        Doubles ga(av.size());
        Doubles gb(bv.size());
        for (std::int64_t at = 0; at < c.batch.numel(); ++at) {
          const std::int64_t first_a = matrix_of(a.shape(), c.batch, at) * m * k;
          const std::int64_t first_b = matrix_of(b.shape(), c.batch, at) * k * n;
          for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < n; ++j) {
              for (std::int64_t l = 0; l < k; ++l) {
                const auto in_a = static_cast<std::size_t>(first_a + (ta ? l * m + i : i * k + l));
                const auto in_b = static_cast<std::size_t>(first_b + (tb ? j * k + l : l * n + j));
                const auto in_y = static_cast<std::size_t>((at * m + i) * n + j);
                yv[in_y] += double{av[in_a]} * double{bv[in_b]};
                ga[in_a] += double{gv[in_y]} * double{bv[in_b]};
                gb[in_b] += double{gv[in_y]} * double{av[in_a]};
              }
            }
          }
        }
        expect_near(y.to_vector(), yv, what);
        expect_near(a.grad().to_vector(), ga, what + ", gradient of a");
        expect_near(b.grad().to_vector(), gb, what + ", gradient of b");
      }
    }
  }
}

TEST_F(Products, VectorsVanish) {
  EXPECT_EQ(matmul(zeros({2, 3, 4}), zeros({4})).shape(), Shape({2, 3}));
  EXPECT_EQ(matmul(zeros({4}), zeros({2, 4, 5})).shape(), Shape({2, 5}));
  EXPECT_EQ(matmul(zeros({4}), zeros({4})).shape(), Shape({}));
  EXPECT_EQ(matmul(zeros({4}), zeros({2, 5, 4}), {.transpose_b = true}).shape(), Shape({2, 5}));
  EXPECT_EQ(dot(zeros({0}), zeros({0})).item(), 0);
  EXPECT_EQ(outer(tensor({1.f, 2}, {2}), tensor({3.f, 4, 5}, {3})).to_vector(), Floats({3, 4, 5, 6, 8, 10}));
}

TEST_F(Products, BatchesOfMatrices) {
  const Tensor a = parameter(tensor({1.f, 2, 3, 4}, {2, 1, 2}), "a");
  const Tensor b = parameter(tensor({1.f, 2, 3, 4, 5, 6, 7, 8}, {2, 2, 2}), "b");
  const Tensor y = bmm(a, b);
  EXPECT_EQ(y.shape(), Shape({2, 1, 2}));
  EXPECT_EQ(y.to_vector(), Floats({7, 10, 43, 50}));
  sum(y).backward();
  EXPECT_EQ(a.grad().to_vector(), Floats({3, 7, 11, 15}));
  EXPECT_EQ(b.grad().to_vector(), Floats({1, 1, 2, 2, 3, 3, 4, 4}));
  EXPECT_EQ(bmm(zeros({0, 2, 3}), zeros({0, 3, 4})).shape(), Shape({0, 2, 4}));
}

TEST_F(Products, LongSumsAreExact) {
  constexpr std::int64_t kCount = std::int64_t{1} << 20;
  const double expected = double{0.7f} * kCount;
  EXPECT_NEAR(dot(full({kCount}, 0.7f), full({kCount}, 1)).item() / expected, 1, 1e-6);
  EXPECT_NEAR(einsum("i,i->", {full({kCount}, 0.7f), full({kCount}, 1)}).item() / expected, 1, 1e-6);
  // The gradient of what is broadcast to many.
  constexpr std::int64_t kBatch = 100'000;
  for (int twice = 1; twice <= 2; ++twice) {
    const Tensor a = parameter(full({2, 3}, 1), "a");
    for (int i = 0; i < twice; ++i) sum(matmul(a, full({kBatch, 3, 1}, 0.7f))).backward();
    for (const float g : a.grad().to_vector()) EXPECT_NEAR(g / (double{0.7f} * kBatch * twice), 1, 1e-6);
  }
  const Tensor w = parameter(full({1, 2, 2}, 1), "w");
  const Tensor x = parameter(full({2, 3}, 1), "x");
  sum(bilinear(full({kCount, 2}, 0.7f), full({kCount, 2}, 1), w)).backward();
  for (const float g : w.grad().to_vector()) EXPECT_NEAR(g / expected, 1, 1e-5);
  sum(bilinear(x, full({2, 1}, 1), full({kBatch, 3, 1}, 0.7f))).backward();
  for (const float g : x.grad().to_vector()) EXPECT_NEAR(g / (double{0.7f} * kBatch), 1, 1e-6);
}

TEST_F(Products, BadValuesReachTheirOwnMatrix) {
  Floats values(12, 1);
  values[5] = std::numeric_limits<float>::quiet_NaN();
  const Floats y = matmul(tensor(values, {3, 2, 2}), full({2, 2}, 1)).to_vector();
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 2 == 2) << i;
  EXPECT_TRUE(std::isnan(einsum("ij,ij->", {tensor(values, {3, 4}), full({3, 4}, 0)}).item()));
}

TEST_F(Products, EinsumUsesOperandsAsTheyLie) {
  const Tensor q = parameter(normal({2, 3, 5, 4}, 0, 1), "q");
  const Tensor k = parameter(normal({2, 3, 6, 4}, 0, 1), "k");
  const auto permutes = [&](const std::string& equation) {
    (void)einsum(equation, {q, k});
    const std::string text = session_.explain();
    return text.find("permute") != std::string::npos;
  };
  EXPECT_FALSE(permutes("bhtd,bhsd->bhts"));
  EXPECT_TRUE(permutes("bhtd,bhsd->bths"));
}

TEST_F(Products, WrongCallsSayWhatIsWrong) {
  const Tensor x = zeros({2, 3});
  struct Case {
    std::function<void()> call;
    std::vector<std::string> words;
  };
  const auto of = [&](std::string equation, std::vector<Tensor> operands, std::vector<std::string> words) {
    words.insert(words.begin(), {"[einsum]", "\"" + equation + "\""});
    return Case{[=] { (void)einsum(equation, operands); }, words};
  };
  const std::vector<Case> cases = {
      {[&] { (void)matmul(x, x); }, {"[matmul]", "[2, 3]", "3 columns", "2 rows"}},
      {[&] {
         (void)matmul(x, zeros({3, 2}), {.transpose_a = true});
       },
       {"[matmul]", "2 rows", "3 rows"}},
      {[&] {
         (void)matmul(zeros({2, 2, 3}), zeros({3, 3, 2}));
       },
       {"[matmul]", "equal, 1 or absent"}},
      {[&] {
         (void)matmul(zeros({3}), zeros({3, 2}), {.transpose_a = true});
       },
       {"[matmul]", "must be a matrix"}},
      {[&] { (void)matmul(zeros({}), x); }, {"[matmul]", "a dimension"}},
      {[&] {
         (void)matmul(x, zeros({3, 2}, i32));
       },
       {"[matmul]", "must be f32"}},
      {[&] {
         (void)bmm(x, zeros({2, 3, 1}));
       },
       {"[bmm] a is [2, 3], b is [2, 3, 1]", "[N, M, K]"}},
      {[&] {
         (void)bmm(zeros({1, 2, 3}), zeros({2, 3, 4}));
       },
       {"[bmm] a is [1, 2, 3], b is [2, 3, 4]"}},
      {[&] {
         (void)bmm(zeros({2, 2, 3}), zeros({2, 2, 3}));
       },
       {"[bmm] a is [2, 2, 3], b is [2, 2, 3]"}},
      {[&] { (void)dot(zeros({3}), zeros({4})); }, {"[dot]", "[3]", "[4]"}},
      {[&] { (void)outer(x, zeros({4})); }, {"[outer]", "vectors"}},
      {[&] {
         (void)bilinear(x, x, zeros({4, 3, 2}));
       },
       {"[bilinear]", "[4, 3, 2]", "[O, I1, I2]"}},
      of("ij,jk", {x}, {"2 operands", "there are 1"}),
      of("ijk", {x}, {"operand 0 is [2, 3]", "3 letters"}),
      of("ij,jk", {x, x}, {"operand 1", "'j' has size 2", "3 elsewhere"}),
      of("ij->ik", {x}, {"output's 'k'"}),
      of("ij->ii", {x}, {"'i' twice"}),
      of("i1", {x}, {"'1'"}),
      of("...i...", {x}, {"'.'"}),
      of("...i->i", {x}, {"ellipsis", "output"}),
      of("ij->...", {x}, {"ellipsis", "no operand"}),
      of("ij->i->j", {x}, {"'-'"}),
      of("ij", {zeros({2, 3}, i32)}, {"must be f32"}),
  };
  for (const auto& [call, words] : cases) {
    try {
      call();
      ADD_FAILURE() << words[0] << " " << words[1] << " is taken";
    } catch (const ShapeError& error) {
      for (const std::string& word : words) EXPECT_THAT(error.what(), HasSubstr(word));
      EXPECT_THAT(error.what(), HasSubstr("products_test.cc:"));
    }
  }
}

}  // namespace
}  // namespace tidemark
