// Values that a budget discards: they come back with equal bits, views share the fate of their storage, ops of one's
// own take part, and verify_replay finds a forward that is not a function of its inputs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/autograd/support.h"
#include "tidemark/op.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;
using ::testing::AllOf;
using ::testing::HasSubstr;

const Shape kMiB = {512, 512};

// Counts its runs; adds what `impurity` holds, which an honest op would not look at.
struct Shift {
  static constexpr std::string_view name = "shift";
  float by = 1;
  std::shared_ptr<int> runs;
  std::shared_ptr<const float> impurity;

  void describe(Attributes& a) const { a("by", by); }
  Prepared prepare(Prep&, std::span<const Meta> in, Needs needs) const {
    Prepared out;
    out.outputs = {Meta::plain(in[0].shape)};
    out.input_layouts = {Layout{}};
    out.work = {0, 2.0 * static_cast<double>(in[0].bytes)};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {Meta::plain(in[0].shape)};
      part.gy = {{0, Layout{}}};
      part.view = true;
      out.parts.push_back(part);
    }
    return out;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf> out) const {
    ++*runs;
    const float shift = by + (impurity == nullptr ? 0.0f : *impurity);
    for (std::int64_t i = 0; i < in[0].numel(); ++i) out[0].as()[i] = in[0].as()[i] + shift;
  }
};

struct Chain {
  std::vector<Tensor> values;
  int resident = 0;
};

// 12 values of 1 MiB each from a leaf, all of them held.
Chain chain(const Tensor& x) {
  Chain out;
  out.values.push_back(x);
  for (int i = 0; i < 4; ++i) {
    out.values.push_back(gelu(out.values.back()));
    out.values.push_back(affine(out.values.back(), 1.25f, -0.5f));
    out.values.push_back(dropout(out.values.back(), {.p = 0.25f}));
  }
  for (const Tensor& value : out.values) out.resident += value.is_resident();
  return out;
}

TEST(EvictionTest, ReadAgainWithEqualBits) {
  std::vector<std::vector<std::uint8_t>> expected;
  {
    const Session session({.threads = 2});
    const Chain all = chain(normal(kMiB, 0, 1));
    EXPECT_EQ(all.resident, 13);
    for (const Tensor& value : all.values) expected.push_back(bits(value));
  }
  const Session session({.budget = 6_MiB, .threads = 2, .verify_replay = true});
  const Chain all = chain(normal(kMiB, 0, 1));
  EXPECT_LE(all.resident, 6);
  EXPECT_TRUE(all.values.back().is_resident());
  for (std::size_t i = all.values.size(); i-- > 0;) {
    EXPECT_EQ(expected[i], bits(all.values[i])) << i;
    EXPECT_TRUE(all.values[i].is_resident()) << i;
  }
  for (std::size_t i = 0; i < all.values.size(); ++i) EXPECT_EQ(expected[i], bits(all.values[i])) << i;
  EXPECT_GT(session.report().recomputed_ops, 6);
  EXPECT_LE(session.report().peak_bytes, 6_MiB);
  EXPECT_LE(session.report().reserved_bytes, 6_MiB);
}

TEST(EvictionTest, ViewsAreDiscardedAndComeBackTogether) {
  const Session session({.budget = 6_MiB, .threads = 2, .verify_replay = true});
  const Tensor x = normal(kMiB, 0, 1);
  const Tensor base = gelu(x);
  const std::int64_t live = session.report().live_bytes;
  const Tensor views[] = {reshape(base, {1024, 256}), slice(base, 0, 128, 256), flatten(slice(base, 0, 1, 3), 0),
                          base.detach()};
  EXPECT_EQ(session.report().live_bytes, live) << "views have no bytes of their own";
  std::vector<std::vector<std::uint8_t>> expected;
  for (const Tensor& view : views) expected.push_back(bits(view));

  const Chain pressure = chain(x);
  EXPECT_LT(pressure.resident, 13);
  int discarded = 0;
  for (std::size_t i = 0; i < std::size(views); ++i) {
    // Fill the memory with other values, so that the storage goes whoever holds it.
    for (const Tensor& value : pressure.values) (void)value.to_vector();
    discarded += !base.is_resident();
    for (const Tensor& view : views) EXPECT_EQ(view.is_resident(), base.is_resident());
    EXPECT_EQ(expected[i], bits(views[i])) << i;
    for (const Tensor& view : views) EXPECT_TRUE(view.is_resident()) << "one brings all of them back";
    EXPECT_TRUE(base.is_resident());
  }
  EXPECT_EQ(discarded, 4);
}

TEST(EvictionTest, ViewsWithoutTheirBase) {
  std::vector<std::uint8_t> expected, expected_gradient;
  for (const bool limited : {false, true}) {
    const Session session(
        {.budget = limited ? std::optional(7_MiB) : std::nullopt, .threads = 2, .verify_replay = true});
    Tensor w = parameter(normal(kMiB, 0, 1), "w");
    const Tensor view = slice(gelu(w), 0, 100, 300);  // nobody holds the base
    const Chain pressure = chain(w);
    for (const Tensor& value : pressure.values) (void)value.to_vector();
    EXPECT_EQ(view.is_resident(), !limited);
    const std::vector<std::uint8_t> read = bits(view);
    mean(mul(view, view)).backward();
    if (!limited) {
      expected = read;
      expected_gradient = bits(w.grad());
    } else {
      EXPECT_EQ(expected, read);
      EXPECT_EQ(expected_gradient, bits(w.grad()));
    }
  }
}

// y0 = x + 1, y1 = 2 x: storages of their own, from one run.
struct Pair {
  static constexpr std::string_view name = "pair";
  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const {
    Prepared out;
    out.outputs = {Meta::plain(in[0].shape), Meta::plain(in[0].shape)};
    out.input_layouts = {Layout{}};
    return out;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf> out) const {
    for (std::int64_t i = 0; i < in[0].numel(); ++i) {
      // A replay may find one of the outputs still there; writing it again must do no harm.
      out[0].as()[i] = in[0].as()[i] + 1;
      out[1].as()[i] = in[0].as()[i] * 2;
    }
  }
};

TEST(EvictionTest, OutputsOfOneOpGoAndComeBackOneByOne) {
  const Session session({.budget = 6_MiB, .threads = 2, .verify_replay = true});
  const Tensor x = normal(kMiB, 0, 1);
  std::vector<Tensor> both = apply_all(any_op(Pair{}), std::vector{x}, SourceLocation::current());
  const std::vector<std::vector<std::uint8_t>> expected = {bits(both[0]), bits(both[1])};
  const Chain pressure = chain(x);
  const auto push_out = [&] {
    for (const Tensor& value : pressure.values) (void)value.to_vector();
  };
  for (int round = 0; round < 3; ++round) {
    push_out();
    EXPECT_FALSE(both[0].is_resident() && both[1].is_resident());
    const auto first = static_cast<std::size_t>(round % 2);
    EXPECT_EQ(expected[first], bits(both[first]));
    EXPECT_EQ(expected[1 - first], bits(both[1 - first]));
  }
  both.pop_back();
  push_out();
  EXPECT_EQ(expected[0], bits(both[0])) << "the other output, which nobody holds, is written and dropped";
  EXPECT_LE(session.report().reserved_bytes, 6_MiB);
}

struct Outcome {
  std::vector<std::uint8_t> loss, gradient;
  int runs = 0;
  std::int64_t recomputed = 0;
};

Outcome run_shift(std::optional<std::int64_t> budget, bool verify) {
  const Session session({.budget = budget, .threads = 2, .verify_replay = verify});
  Tensor w = parameter(normal(kMiB, 0, 1), "w");
  const auto runs = std::make_shared<int>(0);
  Tensor y = w;
  for (int i = 0; i < 8; ++i) {
    y = apply(Shift{0.125f, runs, nullptr}, {y});
    y = mul(y, y);
    y = affine(y, 0.25f, 0);
  }
  const Tensor loss = mean(y);
  loss.backward();
  return {bits(loss), bits(w.grad()), *runs, session.report().recomputed_ops};
}

TEST(EvictionTest, OpsOfOnesOwnAreComputedAgain) {
  const Outcome unlimited = run_shift(std::nullopt, true);
  EXPECT_EQ(unlimited.runs, 8);
  const Outcome limited = run_shift(8_MiB, true);
  EXPECT_GT(limited.runs, 8);
  EXPECT_GE(limited.recomputed, limited.runs - 8);
  EXPECT_EQ(unlimited.loss, limited.loss);
  EXPECT_EQ(unlimited.gradient, limited.gradient);
}

TEST(EvictionTest, VerifyReplayNamesAnImpureOp) {
  const auto run = [](bool verify) {
    const Session session({.budget = 5_MiB, .threads = 2, .verify_replay = verify});
    const Tensor x = normal(kMiB, 0, 1);
    const auto world = std::make_shared<float>(0.5f);
    const std::string line = next_line();
    const Tensor y = apply(Shift{1, std::make_shared<int>(0), world}, {x});
    const std::vector<std::uint8_t> first = bits(y);
    const Chain pressure = chain(x);
    for (const Tensor& value : pressure.values) (void)value.to_vector();
    EXPECT_FALSE(y.is_resident());
    *world = 0.75f;
    std::vector<std::uint8_t> again;
    const std::string message = error_of([&] { again = bits(y); });
    if (verify) {
      EXPECT_THAT(message, AllOf(HasSubstr("verify_replay"), HasSubstr("shift"), HasSubstr(line)));
    } else {
      EXPECT_EQ(message, "");
      EXPECT_NE(first, again) << "the fault that verify_replay is to find";
    }
  };
  run(true);
  run(false);
}

}  // namespace
}  // namespace tidemark::test
