// What every op of the table must keep, on each of its samples.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <regex>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "compute/malloc_hook.h"
#include "ops/table.h"
#include "tests/ops/harness.h"

namespace tidemark::testing {
namespace {

constexpr int kThreads = 2;

struct Case {
  std::string op;
  Sample sample;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.op << ' ' << c.sample.label; }

std::vector<Case> all_cases() {
  std::vector<Case> out;
  for (const ops::OpEntry& entry : ops::op_table()) {
    for (const Sample& sample : entry.samples()) out.push_back({std::string(entry.name), sample});
  }
  return out;
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  std::string name = info.param.op + "_" + info.param.sample.label;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name;
}

class OpTable : public ::testing::TestWithParam<Case> {
 protected:
  OpTable() : harness_(kThreads), inputs_(draw_inputs(sample(), 17)) {
    const Prepared prepared = prepare(Needs());
    const int visible = prepared.visible < 0 ? static_cast<int>(prepared.outputs.size()) : prepared.visible;
    for (int i = 0; i < visible; ++i) {
      const Meta& meta = prepared.outputs[static_cast<std::size_t>(i)];
      gy_.push_back(draw_normal(meta.shape, 31 + static_cast<std::uint64_t>(i)));
      // Statistics that backward reads but that lead to no loss.
      if (i > 0) std::ranges::fill(gy_.back().as(), 0.0f);
    }
  }

  const Sample& sample() const { return GetParam().sample; }
  const AnyOp& op() const { return *sample().op; }
  Needs needs() const { return all_needs(sample()); }
  Prepared prepare(Needs needs) {
    std::vector<Meta> metas;
    for (const Array& input : inputs_) metas.push_back(input.meta);
    return harness_.prepare(op(), metas, needs);
  }
  Outcome run(const Trial& trial = {}) { return harness_.run(op(), inputs_, needs(), gy_, trial); }

  // Sum of gy times the first output, in double precision.
  double loss(std::span<const Array> inputs) {
    const Array y = harness_.forward(op(), inputs);
    double total = 0;
    for (std::size_t i = 0; i < y.as().size(); ++i) total += double{gy_[0].as()[i]} * double{y.as()[i]};
    return total;
  }

  Harness harness_;
  std::vector<Array> inputs_;
  std::vector<Array> gy_;
};

void expect_equal_bits(const Outcome& a, const Outcome& b, const std::string& what) {
  EXPECT_TRUE(a.outputs == b.outputs) << what << ": outputs";
  ASSERT_EQ(a.gradients.size(), b.gradients.size());
  for (std::size_t i = 0; i < a.gradients.size(); ++i) {
    ASSERT_EQ(a.gradients[i].has_value(), b.gradients[i].has_value());
    if (!a.gradients[i]) continue;
    EXPECT_TRUE(a.gradients[i]->bytes == b.gradients[i]->bytes) << what << ": gradient of input " << i;
  }
}

TEST_P(OpTable, DeclaresWhatItMakes) {
  const Prepared prepared = prepare(needs());
  for (const Meta& meta : prepared.outputs) EXPECT_GE(meta.bytes, meta.shape.numel() * size_of(meta.dtype));
  std::set<int> covered;
  for (const Part& part : prepared.parts) {
    ASSERT_EQ(part.inputs.size(), part.gx.size());
    for (std::size_t k = 0; k < part.inputs.size(); ++k) {
      EXPECT_TRUE(covered.insert(part.inputs[k]).second) << "two gradients of input " << part.inputs[k];
      EXPECT_EQ(part.gx[k].shape, inputs_[static_cast<std::size_t>(part.inputs[k])].meta.shape);
    }
    EXPECT_TRUE(part.view || part.work.bytes > 0) << "a kernel that moves no bytes";
  }
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    EXPECT_EQ(covered.contains(static_cast<int>(i)), needs()[i]) << "input " << i;
  }
  EXPECT_TRUE(prepare(Needs()).parts.empty());
}

// Central differences of fourth order, from values at one and two steps on both sides. Coordinates with a kink nearby
// are left out: there slopes, or curvatures, at the two distances disagree. With a kink that changes the slope by j,
// the larger disagreement is at least j / 7, and the error at most j / 2.
TEST_P(OpTable, GradientsAreThoseOfFiniteDifferences) {
  const Outcome outcome = run();
  constexpr double kStep = 0.03;
  constexpr std::size_t kMost = 40;
  double norm = 0;
  for (std::size_t i = 0; i < outcome.first.as().size(); ++i) {
    norm += std::pow(double{gy_[0].as()[i]} * double{outcome.first.as()[i]}, 2);
  }
  // float's rounding of the outputs, seen through the differences.
  const double noise = 6e-7 * std::sqrt(norm) / kStep;
  const double middle = loss(inputs_);
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (!needs()[i]) continue;
    const std::span<const float> gradient = outcome.gradients[i]->as();
    double largest = 0;
    for (const float g : gradient) largest = std::max(largest, std::fabs(double{g}));
    const double tolerance = 1e-3 * std::max(largest, 1e-3) + noise;
    std::size_t tried = 0;
    std::size_t skipped = 0;
    const std::size_t stride = (gradient.size() + kMost - 1) / kMost;
    for (std::size_t at = 0; at < gradient.size(); at += stride) {
      std::vector<Array> moved = inputs_;
      const float x = moved[i].as()[at];
      const auto side = [&](double step) {
        const auto there = static_cast<float>(x + step);
        moved[i].as()[at] = there;
        return (loss(moved) - middle) / (double{there} - double{x});
      };
      const double up = side(kStep);
      const double down = side(-kStep);
      const double far_up = side(2 * kStep);
      const double far_down = side(-2 * kStep);
      const double near = (up + down) / 2;
      const double far = (far_up + far_down) / 2;
      const double doubt = std::max(std::fabs(near - far), std::fabs(far_up - far_down - 2 * (up - down)));
      ++tried;
      if (doubt > 2 * tolerance) {
        ++skipped;
      } else {
        EXPECT_NEAR((4 * near - far) / 3, double{gradient[at]}, tolerance + 3.5 * doubt)
            << "input " << i << ", element " << at;
      }
    }
    // Round has a step in every unit. Some element that a broadcast operand of maximum is compared with is always near
    // to it: golden values have those.
    const bool compared = op().name() == "maximum" || op().name() == "minimum";
    const bool kinks = compared && inputs_[i].meta.shape != outcome.first.meta.shape;
    EXPECT_LE(skipped, kinks ? tried : op().name() == "round" ? tried / 3 : tried / 4) << "input " << i;
  }
}

TEST_P(OpTable, ReplayGivesTheSameBits) {
  const Outcome first = run();
  EXPECT_TRUE(first.guards_whole);
  for (const int offset : {1, 2, 3, 5, 63}) {
    const Outcome again = run({.offset = offset, .dirt = static_cast<std::uint8_t>(0x3F + offset)});
    expect_equal_bits(first, again, "offset " + std::to_string(offset));
    EXPECT_TRUE(again.guards_whole);
  }
  expect_equal_bits(first, run({.valid_workspaces = true}), "valid workspaces");
}

TEST_P(OpTable, OverwritesChangeNoBit) {
  const Outcome plain = run();
  const Prepared prepared = prepare(needs());
  for (std::size_t i = 0; i < prepared.overwrites.size(); ++i) {
    const Outcome over = run({.overwrite = static_cast<int>(i)});
    expect_equal_bits(plain, over, "overwrite " + std::to_string(i));
    EXPECT_TRUE(over.guards_whole);
  }
  std::size_t most = 0;
  for (const Part& part : prepared.parts) most = std::max(most, part.overwrites.size());
  for (std::size_t i = 0; i < most; ++i) {
    expect_equal_bits(plain, run({.part_overwrite = static_cast<int>(i)}), "backward overwrite " + std::to_string(i));
  }
}

// Each gradient alone, with only what it then asks for, is the one that is made together with the others.
TEST_P(OpTable, GradientsAloneAreThoseTogether) {
  const Outcome all = run();
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (!needs()[i]) continue;
    const Outcome alone = harness_.run(op(), inputs_, Needs(std::uint64_t{1} << i), gy_);
    for (std::size_t k = 0; k < inputs_.size(); ++k) ASSERT_EQ(alone.gradients[k].has_value(), i == k);
    const std::span<const float> a = all.gradients[i]->as();
    const std::span<const float> b = alone.gradients[i]->as();
    for (std::size_t k = 0; k < a.size(); ++k) EXPECT_NEAR(a[k], b[k], 1e-5 + 1e-5 * std::fabs(a[k])) << k;
    EXPECT_TRUE(alone.guards_whole);
  }
}

TEST_P(OpTable, BlockedImagesGiveTheSameGradients) {
  const bool image = std::ranges::any_of(inputs_, [](const Array& a) { return a.meta.shape.rank() == 4; });
  if (!image) return;
  const Outcome plain = run();
  const Outcome blocked = run({.images = dnnl::memory::format_tag::nChw8c});
  EXPECT_TRUE(blocked.guards_whole);
  expect_equal_bits(blocked, run({.offset = 3, .dirt = 0x11, .images = dnnl::memory::format_tag::nChw8c}),
                    "blocked again");
  if (prepare(Needs()).random) return;  // masks follow the bytes, so another layout is another draw
  for (std::size_t k = 0; k < plain.first.as().size(); ++k) {
    EXPECT_NEAR(plain.first.as()[k], blocked.first.as()[k], 1e-4);
  }
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (!plain.gradients[i]) continue;
    const std::span<const float> a = plain.gradients[i]->as();
    const std::span<const float> b = blocked.gradients[i]->as();
    for (std::size_t k = 0; k < a.size(); ++k) EXPECT_NEAR(a[k], b[k], 1e-4 + 1e-4 * std::fabs(a[k])) << k;
  }
}

TEST_P(OpTable, AccumulatingIsAddingAfterwards) {
  const Outcome plain = run();
  const Trial trial{.accumulate = true, .before = 0.75f};
  const Outcome added = run(trial);
  for (const Part& part : prepare(needs()).parts) {
    if (!part.accumulates) continue;
    for (const int input : part.inputs) {
      const std::span<const float> a = plain.gradients[static_cast<std::size_t>(input)]->as();
      const std::span<const float> b = added.gradients[static_cast<std::size_t>(input)]->as();
      for (std::size_t k = 0; k < a.size(); ++k) {
        EXPECT_NEAR(a[k] + trial.before, b[k], 1e-5 * (1 + std::fabs(a[k]))) << "input " << input << ", " << k;
      }
    }
  }
}

TEST_P(OpTable, TakesNoHeapBytesUnannounced) {
  run();
  const Outcome warm = run();
  EXPECT_LE(warm.heap_over, 64 * 1024);
}

// Ops whose kernels are our own give the same bits on every team; oneDNN's partition some sums by threads.
TEST_P(OpTable, OwnKernelsGiveTheSameBitsOnEveryTeam) {
  if (op().name() == "conv2d" || op().name() == "batch_norm") return;
  const Outcome two = run();
  for (const int threads : {1, 3}) {
    Harness other(threads);
    expect_equal_bits(two, other.run(op(), inputs_, needs(), gy_), std::to_string(threads) + " threads");
  }
}

TEST_P(OpTable, WrongShapesThrowShapeErrorsNamingThem) {
  std::vector<Meta> metas;
  for (const Array& input : inputs_) metas.push_back(input.meta);
  bool thrown = false;
  const auto attempt = [&](std::size_t changed, const Meta& meta) {
    std::vector<Meta> wrong = metas;
    wrong[changed] = meta;
    try {
      harness_.prepare(op(), wrong, Needs());
    } catch (const ShapeError& error) {
      thrown = true;
      const std::string text = error.what();
      EXPECT_NE(text.find(meta.shape.to_string()), std::string::npos) << text;
      EXPECT_NE(text.find(op().name()), std::string::npos) << text;
      EXPECT_NE(text.find("a_test.cc:12"), std::string::npos) << text;
      if (meta.dtype != metas[changed].dtype || metas.size() < 2) return;
      const bool names_other = std::ranges::any_of(wrong, [&](const Meta& other) {
        return &other != &wrong[changed] && text.find(other.shape.to_string()) != std::string::npos;
      });
      // A shape that is impossible by itself needs no second one.
      EXPECT_TRUE(names_other || text.find("must be") != std::string::npos || text.find("must") != std::string::npos)
          << text;
    }
  };
  for (std::size_t i = 0; i < metas.size(); ++i) {
    const Shape& shape = metas[i].shape;
    for (int dim = 0; dim < shape.rank(); ++dim) {
      attempt(i, Meta::plain(shape.with(dim, shape[dim] + 1), metas[i].dtype));
    }
    if (shape.rank() > 0) attempt(i, Meta::plain(Shape(shape.dims().subspan(1)), metas[i].dtype));
    attempt(i, Meta::plain(shape, DType::f16));
  }
  EXPECT_TRUE(thrown);
}

INSTANTIATE_TEST_SUITE_P(All, OpTable, ::testing::ValuesIn(all_cases()), case_name);

// Each item that a part declares matters in some sample: else it is kept for nothing. Gradients are asked for one by
// one, except where one kernel makes them all at once anyway.
TEST(SaveSets, EveryDeclaredItemIsRead) {
  Harness harness(kThreads);
  for (const ops::OpEntry& entry : ops::op_table()) {
    std::set<std::string> declared;
    std::set<std::string> mattered;
    const auto examine = [&](const Sample& sample, Needs needs) {
      const std::vector<Array> inputs = draw_inputs(sample, 5);
      std::vector<Meta> metas;
      for (const Array& input : inputs) metas.push_back(input.meta);
      const Prepared prepared = harness.prepare(*sample.op, metas, needs);
      if (prepared.parts.empty()) return;
      std::vector<Array> gy;
      const auto visible = prepared.visible < 0 ? prepared.outputs.size() : static_cast<std::size_t>(prepared.visible);
      for (std::size_t k = 0; k < visible; ++k) gy.push_back(draw_normal(prepared.outputs[k].shape, 3 + k));
      const Outcome plain = harness.run(*sample.op, inputs, needs, gy);
      for (std::size_t k = 0; k < prepared.parts[0].saved.size(); ++k) {
        const Saved& saved = prepared.parts[0].saved[k];
        const std::string item = std::string(saved.of == Saved::Of::kInput ? "input " : "output ") +
                                 std::to_string(saved.index) + " for gradients " + std::to_string(needs.bits());
        declared.insert(item);
        const Outcome spoilt = harness.run(*sample.op, inputs, needs, gy, {.poison = static_cast<int>(k)});
        for (const int input : prepared.parts[0].inputs) {
          const auto at = static_cast<std::size_t>(input);
          if (spoilt.gradients[at]->bytes != plain.gradients[at]->bytes) mattered.insert(item);
        }
      }
    };
    for (const Sample& sample : entry.samples()) {
      const Needs all = all_needs(sample);
      if (entry.name == "batch_norm") {
        examine(sample, all);
        continue;
      }
      for (std::size_t i = 0; i < sample.inputs.size(); ++i) {
        if (all[i]) examine(sample, Needs(std::uint64_t{1} << i));
      }
    }
    // The offsets of its samples are zeros, and are the same when they are spoilt.
    if (entry.name == "embedding_bag") declared.erase("input 2 for gradients 8");
    EXPECT_EQ(declared, mattered) << entry.name;
  }
}

TEST(OpTableItself, HasEveryOpOnceWithSamples) {
  std::set<std::string_view> names;
  for (const ops::OpEntry& entry : ops::op_table()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    const std::vector<Sample> samples = entry.samples();
    EXPECT_FALSE(samples.empty()) << entry.name;
    for (const Sample& sample : samples) EXPECT_EQ(sample.op->name(), entry.name);
  }
}

// Reads the sources: a struct says `name = "..."`, one for two ops has both names there.
TEST(OpTableItself, HasEveryOpOfTheSources) {
  static const std::regex kDefinition(R"(constexpr std::string_view name =([^;]*);)");
  static const std::regex kName("\"([^\"]+)\"");
  std::set<std::string> defined;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(TIDEMARK_SOURCE_DIR "/ops")) {
    if (entry.path().extension() != ".cc") continue;
    std::ifstream file(entry.path());
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    for (std::sregex_iterator it(text.begin(), text.end(), kDefinition), end; it != end; ++it) {
      const std::string names = (*it)[1];
      for (std::sregex_iterator name(names.begin(), names.end(), kName); name != end; ++name) {
        EXPECT_TRUE(defined.insert((*name)[1]).second) << (*name)[1] << " is defined twice";
      }
    }
  }
  std::set<std::string> listed;
  for (const ops::OpEntry& entry : ops::op_table()) listed.emplace(entry.name);
  EXPECT_EQ(defined, listed);
}

}  // namespace
}  // namespace tidemark::testing
