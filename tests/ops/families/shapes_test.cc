// Ops of shapes: every dtype, larger sizes against plain loops, views, long sums of gradients, and errors.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark {
namespace {

using ::testing::HasSubstr;

using Floats = std::vector<float>;
using Integers = std::vector<std::int64_t>;
using Function = std::function<Tensor(const Tensor&)>;

// Values of elements by their indices: whole numbers that every dtype holds.
Tensor numbered(const Shape& shape, DType dtype = i32) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int32_t>(i * 7 % 251);
  Tensor out = zeros(shape, dtype);
  out.assign(std::span<const std::int32_t>(values));
  return out;
}

Integers values(const Tensor& x) { return x.to_vector<std::int64_t>(); }

class Shapes : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .seed = 4}};
};

TEST_F(Shapes, EveryDtypeMovesAlike) {
  const Tensor index = tensor({2, 0, 1, 1, 2, 2, 0, 1, 0, 2, 1, 0}, {4, 3, 1});
  const std::vector<std::pair<const char*, Function>> cases = {
      {"permute",
       [](const Tensor& x) {
         return permute(x, {2, 0, 1});
       }},
      {"permute of rows",
       [](const Tensor& x) {
         return permute(x, {1, 0, 2});
       }},
      {"transpose", [](const Tensor& x) { return transpose(x, 1, 2); }},
      {"flip",
       [](const Tensor& x) {
         return flip(x, {0, 2});
       }},
      {"roll",
       [](const Tensor& x) {
         return roll(x, {1, -2}, {0, 1});
       }},
      {"slice", [](const Tensor& x) { return slice(x, 1, 1, 3); }},
      {"slice with step", [](const Tensor& x) { return slice(x, 2, 1, 5, 2); }},
      {"select", [](const Tensor& x) { return select(x, -1, 2); }},
      {"stack",
       [](const Tensor& x) {
         return stack({x, x}, 1);
       }},
      {"concat",
       [](const Tensor& x) {
         return concat({x, x}, 2);
       }},
      {"expand",
       [](const Tensor& x) {
         return expand(unsqueeze(x, 1), {4, 2, 3, 5});
       }},
      {"repeat",
       [](const Tensor& x) {
         return repeat(x, {2, 1, 2});
       }},
      {"pad",
       [](const Tensor& x) {
         return pad(x, {{1, 0}, {2, 3}});
       }},
      {"reflect",
       [](const Tensor& x) {
         return pad(x, {{1, 2}, {2, 3}}, {.mode = PadMode::kReflect});
       }},
      {"tril", [](const Tensor& x) { return tril(x); }},
      {"diagonal", [](const Tensor& x) { return diagonal(x, 1, 1, 2); }},
      {"gather", [&](const Tensor& x) { return gather(x, 1, index); }},
      {"scatter", [&](const Tensor& x) { return scatter(x, 1, index, slice(x, 2, 0, 1)); }},
      {"index_select",
       [&](const Tensor& x) {
         return index_select(x, -2, tensor({2, 2, 0}, {3}));
       }},
  };
  for (const auto& [name, function] : cases) {
    const Integers expected = values(function(numbered({4, 3, 5}, f32)));
    for (const DType dtype : {i32, u8, f16}) {
      const Tensor y = function(numbered({4, 3, 5}, dtype));
      EXPECT_EQ(y.dtype(), dtype) << name;
      EXPECT_EQ(values(y), expected) << name << " " << to_string(dtype);
    }
  }
}

// Beyond tiles and blocks, in every order.
TEST_F(Shapes, PermuteIsThatOfPlainLoops) {
  const Shape shape{3, 37, 1, 18};
  const Tensor x = numbered(shape);
  const Integers from = values(x);
  std::vector<int> dims = {0, 1, 2, 3};
  const std::int64_t strides[] = {37 * 18, 18, 18, 1};
  do {
    Integers expected;
    const auto size = [&](int i) { return shape[dims[static_cast<std::size_t>(i)]]; };
    const auto stride = [&](int i) { return strides[dims[static_cast<std::size_t>(i)]]; };
    for (std::int64_t a = 0; a < size(0); ++a) {
      for (std::int64_t b = 0; b < size(1); ++b) {
        for (std::int64_t c = 0; c < size(2); ++c) {
          for (std::int64_t d = 0; d < size(3); ++d) {
            expected.push_back(
                from[static_cast<std::size_t>(a * stride(0) + b * stride(1) + c * stride(2) + d * stride(3))]);
          }
        }
      }
    }
    EXPECT_EQ(values(permute(x, dims)), expected) << dims[0] << dims[1] << dims[2] << dims[3];
  } while (std::ranges::next_permutation(dims).found);
  const Integers row = values(numbered({70001}));
  Integers turned = row;
  std::ranges::reverse(turned);
  EXPECT_EQ(values(flip(numbered({70001}), {-1})), turned);
  Integers rolled = row;
  std::ranges::rotate(rolled, rolled.begin() + 70001 - 40000);
  EXPECT_EQ(values(roll(numbered({70001}), {40000 - 3 * 70001}, {0})), rolled);
}

TEST_F(Shapes, NegativeDimensionsAndEdges) {
  const Tensor x = numbered({2, 1, 3});
  EXPECT_EQ(squeeze(x).shape(), Shape({2, 3}));
  EXPECT_EQ(squeeze(x, -2).shape(), Shape({2, 3}));
  EXPECT_EQ(squeeze(x, 0).shape(), x.shape());
  EXPECT_EQ(unsqueeze(x, -1).shape(), Shape({2, 1, 3, 1}));
  EXPECT_EQ(unsqueeze(x, 0).shape(), Shape({1, 2, 1, 3}));
  EXPECT_EQ(select(x, -1, -1).shape(), Shape({2, 1}));
  EXPECT_EQ(values(narrow(x, -1, -2, 1)), Integers({7, 28}));
  EXPECT_EQ(stack({x, x}, -1).shape(), Shape({2, 1, 3, 2}));
  EXPECT_EQ(permute(zeros({}), std::span<const int>()).shape(), Shape({}));
  EXPECT_EQ(flip(zeros({}), {}).shape(), Shape({}));
  EXPECT_EQ(pad(zeros({}), {}).shape(), Shape({}));
  EXPECT_EQ(expand(full({}, 3), {2, 2}).to_vector(), Floats(4, 3.0f));
  EXPECT_EQ(expand(zeros({1, 3}), {0, 3}).shape(), Shape({0, 3}));
  EXPECT_EQ(repeat(x, {0, 1, 1}).shape(), Shape({0, 1, 3}));
  EXPECT_EQ(values(repeat_interleave(tensor({1, 2}, {2}), 2, 0)), Integers({1, 1, 2, 2}));
  EXPECT_EQ(slice(x, 0, 1, 1, 3).shape(), Shape({0, 1, 3}));
  EXPECT_EQ(values(pad(tensor({1, 2, 3}, {3}), {{-1, 2}}, {.value = 9})), Integers({2, 3, 9, 9}));
  EXPECT_EQ(pad(zeros({0, 2}), {{2, 0}, {0, 0}}, {.value = 4}).to_vector(), Floats(4, 4.0f));
  EXPECT_EQ(values(pad(tensor({5}, {1}), {{2, 1}}, {.mode = PadMode::kReplicate})), Integers(4, 5));
  EXPECT_EQ(diagonal(zeros({3, 4}), 4).shape(), Shape({0}));
  EXPECT_EQ(diagonal(zeros({3, 4}), -9).shape(), Shape({0}));
  EXPECT_EQ(tril(full({2, 2}, 1), std::numeric_limits<std::int64_t>::max()).to_vector(), Floats(4, 1.0f));
  EXPECT_EQ(triu(full({2, 2}, 1), std::numeric_limits<std::int64_t>::max()).to_vector(), Floats(4, 0.0f));
  std::vector<std::int64_t> sizes;
  for (const Tensor& part : chunk(zeros({7}), 4)) sizes.push_back(part.size(0));
  EXPECT_EQ(sizes, Integers({2, 2, 2, 1}));
  EXPECT_EQ(chunk(zeros({5}), 4).size(), 3u) << "parts are of equal size, so that there are fewer";
  EXPECT_EQ(chunk(zeros({0, 2}), 3).size(), 3u);
  for (const Tensor& part : chunk(zeros({2, 0}), 4, -1)) EXPECT_EQ(part.shape(), Shape({2, 0}));
  EXPECT_TRUE(transpose(x, 1, -2).same(x));
  EXPECT_EQ(split(zeros({0, 2}), 3).size(), 1u);
  EXPECT_TRUE(unbind(zeros({0, 2})).empty());
}

// As PyTorch: a number has dimension 0, or -1, and goes with [1].
TEST_F(Shapes, NumbersHaveADimension) {
  const Tensor zero = tensor({0}, {});
  const Tensor zeros_of_three = zeros({3}, i32);
  for (const int dim : {0, -1}) {
    const Tensor x = parameter(tensor({2.5f}, {}), "x");
    EXPECT_TRUE(squeeze(x, dim).same(x));
    EXPECT_TRUE(transpose(x, dim, 0).same(x));
    EXPECT_EQ(flip(x, {dim}).shape(), Shape());
    EXPECT_EQ(flip(x, {dim}).item(), 2.5f);
    EXPECT_EQ(gather(x, dim, zero).shape(), Shape());
    EXPECT_EQ(gather(x, dim, zero).item(), 2.5f);
    EXPECT_EQ(gather(tensor({7.f, 8}, {2}), dim, tensor({1}, {})).item(), 8);
    EXPECT_EQ(scatter(x, dim, zero, full({}, 1)).item(), 1);
    EXPECT_EQ(index_select(x, dim, tensor({0}, {1})).shape(), Shape());
    EXPECT_EQ(index_select(x, dim, tensor({0}, {1})).item(), 2.5f);
    EXPECT_EQ(index_add(x, dim, zeros_of_three, full({3}, 1)).item(), 5.5f);
    const Tensor src = parameter(full({3}, 1), "src");
    const Tensor added = scatter_add(x, dim, zeros_of_three, src);
    EXPECT_EQ(added.shape(), Shape());
    EXPECT_EQ(added.item(), 5.5f);
    added.backward();
    EXPECT_EQ(x.grad().item(), 1);
    EXPECT_EQ(src.grad().to_vector(), Floats(3, 1.0f));
    const Tensor three = gather(x, dim, zeros_of_three);
    EXPECT_EQ(three.to_vector(), Floats(3, 2.5f));
    sum(three).backward();
    EXPECT_EQ(x.grad().item(), 4) << "1 from before";
  }
}

TEST_F(Shapes, ViewsHaveNoBytesOfTheirOwn) {
  const Tensor x = affine(normal({1, 64, 16, 16}, 0, 1), 2, 1);
  const Floats all = x.to_vector();
  const std::int64_t live = session_.report().live_bytes;
  const std::vector<Tensor> chunks = chunk(x, 4, 1);
  const std::vector<Tensor> views = {squeeze(x),      unsqueeze(x, 2),     narrow(x, 1, 3, 9),
                                     select(x, 1, 5), slice(x, 1, 60, -1), expand(x, {1, 64, 16, 16}),
                                     chunks[2],       slice(x, 2, 0, 16)};
  EXPECT_EQ(session_.report().live_bytes, live);
  const Floats third = chunks[2].to_vector();
  EXPECT_TRUE(std::equal(third.begin(), third.end(), all.begin() + 2 * 16 * 256));
  const Tensor copy = slice(x, 2, 0, 8);
  EXPECT_GT(session_.report().live_bytes, live) << "no run of bytes";
}

TEST_F(Shapes, OfRepeatedPlacesTheLastStaysAndHasTheGradient) {
  const Tensor x = parameter(full({2, 3}, 1), "x");
  const Tensor src = parameter(tensor({1.f, 2, 3, 4, 5, 6}, {2, 3}), "src");
  const Tensor y = scatter(x, 1, tensor({0, 2, 0, 1, 1, 1}, {2, 3}), src);
  EXPECT_EQ(y.to_vector(), Floats({3, 1, 2, 1, 6, 1}));
  sum(y * tensor({10.f, 20, 30, 40, 50, 60}, {2, 3})).backward();
  EXPECT_EQ(x.grad().to_vector(), Floats({0, 20, 0, 40, 0, 60}));
  EXPECT_EQ(src.grad().to_vector(), Floats({0, 30, 10, 0, 0, 50}));
}

TEST_F(Shapes, BadValuesStayInTheirPlaces) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = tensor({nan, 1, 2, 3}, {2, 2});
  const Floats y = triu(x, 1).to_vector();
  EXPECT_EQ(y, Floats({0, 1, 0, 0})) << "what is cut off is not multiplied";
  const Floats added = scatter_add(x, 1, tensor({1, 1, 0, 0}, {2, 2}), full({2, 2}, 4)).to_vector();
  EXPECT_TRUE(std::isnan(added[0]));
  EXPECT_EQ(Floats(added.begin() + 1, added.end()), Floats({9, 10, 3}));
  EXPECT_TRUE(std::signbit(flip(tensor({1.f, -0.0f}, {2}), {0}).to_vector()[0]));
}

// Many elements whose gradients fall on one.
TEST_F(Shapes, LongSumsOfGradientsAreExact) {
  constexpr std::int64_t kCount = 300'000;
  const Tensor index = zeros({kCount}, i32);
  const Tensor apart = zeros({2, kCount}, i32);
  const std::vector<std::pair<const char*, Function>> cases = {
      {"gather",
       [&](const Tensor& x) {
         return gather(reshape(x, {2, 1}), 1, apart);
       }},
      {"index_select",
       [&](const Tensor& x) {
         return index_select(reshape(x, {1, 2}), 0, index);
       }},
      {"expand",
       [&](const Tensor& x) {
         return expand(reshape(x, {2, 1}), {2, kCount});
       }},
      {"repeat",
       [&](const Tensor& x) {
         return repeat(x, {kCount, 1});
       }},
      {"repeat_interleave", [&](const Tensor& x) { return repeat_interleave(x, kCount, 0); }},
      {"pad", [&](const Tensor& x) {
         return pad(reshape(x, {2, 1}), {{kCount - 1, 0}}, {.mode = PadMode::kReplicate});
       }}};
  for (const auto& [name, function] : cases) {
    const Tensor x = parameter(full({2}, 1), "x");
    sum(affine(function(x), 0.7f, 0)).backward();
    for (const float g : x.grad().to_vector()) EXPECT_NEAR(g / (double{0.7f} * kCount), 1, 1e-6) << name;
  }
  const double expected = 1 + double{0.7f} * kCount;
  EXPECT_NEAR(index_add(full({1}, 1), 0, index, full({kCount}, 0.7f)).item() / expected, 1, 1e-6);
  EXPECT_NEAR(scatter_add(full({1}, 1), 0, index, full({kCount}, 0.7f)).item() / expected, 1, 1e-6);
}

TEST_F(Shapes, Leaves) {
  EXPECT_EQ(arange(2, 11, 3).to_vector<std::int32_t>(), (std::vector<std::int32_t>{2, 5, 8}));
  EXPECT_EQ(arange(3, 0, -1).to_vector<std::int32_t>(), (std::vector<std::int32_t>{3, 2, 1}));
  EXPECT_EQ(arange(0, 5).dtype(), i32);
  EXPECT_EQ(arange(0, 1, 0.25).to_vector(), Floats({0, 0.25f, 0.5f, 0.75f}));
  EXPECT_EQ(arange(2, 2).shape(), Shape({0}));
  EXPECT_EQ(linspace(-1, 1, 5).to_vector(), Floats({-1, -0.5f, 0, 0.5f, 1}));
  EXPECT_EQ(linspace(3, 9, 1).to_vector(), Floats({3}));
  EXPECT_EQ(linspace(0.1f, 0.7f, 100).to_vector()[99], 0.7f);
  EXPECT_EQ(eye(2, 3).to_vector(), Floats({1, 0, 0, 0, 1, 0}));
  EXPECT_EQ(eye(2).to_vector(), Floats({1, 0, 0, 1}));
  const Tensor bytes = ones_like(zeros({2, 2}, u8));
  EXPECT_EQ(bytes.dtype(), u8);
  EXPECT_EQ(values(bytes), Integers(4, 1));
  EXPECT_EQ(full_like(zeros({3}), 2.5f).to_vector(), Floats(3, 2.5f));
  EXPECT_EQ(zeros_like(numbered({2})).dtype(), i32);
  EXPECT_EQ(one_hot(tensor({2, 0}, {2}), 3).to_vector(), Floats({0, 0, 1, 1, 0, 0}));
}

TEST_F(Shapes, WrongCallsSayWhatIsWrong) {
  const Tensor x = zeros({2, 3});
  const Tensor number = zeros({});
  const Tensor index = tensor({0, 1, 3, 0}, {2, 2});
  struct Case {
    std::function<void()> call;
    std::vector<std::string> words;
  };
  const std::vector<Case> cases = {
      {[&] {
         (void)permute(x, {0, 0});
       },
       {"[permute]", "[2, 3]", "each of its dimensions once"}},
      {[&] {
         (void)permute(x, {0, 1, 2});
       },
       {"[permute]", "dims [0, 1, 2]"}},
      {[&] { (void)squeeze(x, 2); }, {"[squeeze]", "[2, 3]", "no dimension 2"}},
      {[&] { (void)squeeze(number, 1); }, {"[squeeze] x is []", "no dimension 1"}},
      {[&] { (void)transpose(x, 2, 2); }, {"[transpose] x is [2, 3]", "dimensions 2 and 2"}},
      {[&] { (void)transpose(number, 0, 1); }, {"[transpose] x is []", "dimensions 0 and 1"}},
      {[&] { (void)slice(number, 0, 0, 1); }, {"[slice] x is []", "dimension 0"}},
      {[&] { (void)narrow(number, 0, 0, 1); }, {"[narrow] x is a number", "must have a dimension"}},
      {[&] { (void)chunk(number, 1); }, {"[chunk] x is a number", "must have a dimension"}},
      {[&] { (void)roll(number, {1}, {0}); }, {"[roll] x is []", "no dimension 0"}},
      {[&] {
         (void)concat({number, number}, 0);
       },
       {"[concat] part 0 is []", "no dimension 0"}},
      {[&] { (void)index_select(number, 0, zeros({2}, i32)); }, {"[index_select] x is []", "one entry"}},
      {[&] { (void)gather(number, 1, zeros({1}, i32)); }, {"[gather] x is []", "no dimension 1"}},
      {[&] { (void)slice(x, 1, 0, 4); }, {"[slice] x is [2, 3]", "no range [0, 4) in dimension 1"}},
      {[&] { (void)unsqueeze(x, 4); }, {"[unsqueeze]", "dimension 4"}},
      {[&] { (void)slice(x, 1, 0, 2, 0); }, {"[slice]", "step is 0"}},
      {[&] { (void)narrow(x, 1, 2, 2); }, {"[narrow]", "[2, 3]", "2 elements from 2"}},
      {[&] { (void)select(x, 1, 3); }, {"[select]", "no index 3"}},
      {[&] {
         (void)split(x, {1, 1}, 1);
       },
       {"[split]", "{1, 1}", "add up to the 3"}},
      {[&] { (void)split(x, 0); }, {"[split]", "at least 1"}},
      {[&] { (void)chunk(x, 0); }, {"[chunk]", "at least 1"}},
      {[&] {
         (void)stack({x, zeros({3, 2})});
       },
       {"[stack]", "[2, 3]", "[3, 2]", "alike"}},
      {[&] { (void)stack({}); }, {"[stack]", "nothing"}},
      {[&] {
         (void)expand(x, {4, 3});
       },
       {"[expand]", "[2, 3]", "[4, 3]"}},
      {[&] { (void)repeat(x, {2}); }, {"[repeat]", "[2, 3]", "1 numbers"}},
      {[&] {
         (void)flip(x, {0, -2});
       },
       {"[flip]", "named once"}},
      {[&] {
         (void)roll(x, {1}, {0, 1});
       },
       {"[roll]", "1 shifts for 2 dimensions"}},
      {[&] {
         (void)pad(x, {{3, 0}}, {.mode = PadMode::kReflect});
       },
       {"[pad]", "{3, 0}", "0 to 2", "reflect"}},
      {[&] {
         (void)pad(x, {{0, -4}});
       },
       {"[pad]", "crops more than there is"}},
      {[&] {
         (void)pad(numbered({2}), {{1, 0}}, {.value = 0.5f});
       },
       {"[pad]", "i32", "0.5"}},
      {[&] {
         (void)gather(x, 1, zeros({2, 2}));
       },
       {"[gather]", "must be i32"}},
      {[&] {
         (void)gather(x, 1, tensor({0, 0, 0}, {3, 1}));
       },
       {"[gather]", "[3, 1]", "no larger"}},
      {[&] { (void)gather(x, 1, index); }, {"[gather]", "index 3 at position 2", "[0, 3)", "[2, 3]"}},
      {[&] {
         (void)scatter(x, 1, index, zeros({2, 2}));
       },
       {"[scatter]", "index 3 at position 2"}},
      {[&] {
         (void)scatter_add(x, 1, index, zeros({2, 3}));
       },
       {"[scatter_add]", "src must have"}},
      {[&] {
         (void)index_select(x, 0, tensor({0, -1}, {2}));
       },
       {"[index_select]", "index -1 at position 1", "[0, 2)"}},
      {[&] { (void)index_add(x, 0, tensor({0}, {1}), x); }, {"[index_add]", "src must be [1, 3]"}},
      {[&] {
         (void)take_along_dim(x, tensor({0, 0, 0}, {3, 1}), 1);
       },
       {"[take_along_dim]", "[3, 1]"}},
      {[&] {
         (void)one_hot(tensor({0, 5}, {2}), 5);
       },
       {"[one_hot]", "index 5", "[0, 5)"}},
      {[&] { (void)tril(zeros({3})); }, {"[tril]", "[..., M, N]"}},
      {[&] { (void)diagonal(x, 0, 1, -1); }, {"[diagonal]", "no matrix"}},
      {[&] {
         (void)unfold(zeros({1, 1, 2, 2}), {.kernel = {3, 1}});
       },
       {"[unfold]", "no window has room"}},
      {[&] {
         (void)fold(zeros({1, 4, 3}), {2, 2}, {.kernel = {2, 2}});
       },
       {"[fold]", "[N, C * 4, 1]"}},
      {[&] {
         (void)pixel_shuffle(zeros({1, 6, 2, 2}), 2);
       },
       {"[pixel_shuffle]", "factor 2"}},
      {[&] { (void)arange(0, 5, -1); }, {"[arange]", "do not lead"}},
      {[&] { (void)eye(-1); }, {"[eye]", "[-1, -1]"}},
  };
  for (const auto& [call, words] : cases) {
    try {
      call();
      ADD_FAILURE() << words[0] << " takes it";
    } catch (const ShapeError& error) {
      for (const std::string& word : words) EXPECT_THAT(error.what(), HasSubstr(word));
      EXPECT_THAT(error.what(), HasSubstr("shapes_test.cc:"));
    }
  }
}

}  // namespace
}  // namespace tidemark
