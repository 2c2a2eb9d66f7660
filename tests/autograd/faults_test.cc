// The faults that recomputation is known for, committed on purpose by ops of the test's own: a fresh dropout mask in
// the replay, statistics updated a second time, a stale parameter. Each must be found, by comparing runs at different
// budgets bit for bit or by verify_replay or by the versions of leaves; the same op without the fault must pass.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "tests/autograd/support.h"
#include "tests/autograd/training.h"
#include "tidemark/op.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;
using ::testing::AllOf;
using ::testing::HasSubstr;

const Shape kMiB = {512, 512};
constexpr int kLayers = 8;
constexpr int kSteps = 3;

// Bits that follow from a key and an index.
std::uint32_t scramble(std::uint64_t key, std::int64_t index) {
  std::uint64_t x = (key + 1) * 0x9E3779B97F4A7C15u + static_cast<std::uint64_t>(index) * 0xD1B54A32D192ED03u;
  x = (x ^ (x >> 29)) * 0xBF58476D1CE4E5B9u;
  return static_cast<std::uint32_t>(x >> 32);
}

Part elementwise_part(const Meta& meta, std::vector<Saved> saved) {
  Part part;
  part.inputs = {0};
  part.gx = {meta};
  part.saved = std::move(saved);
  part.gy = {{0, Layout{}}};
  part.work = {0, 3.0 * static_cast<double>(meta.bytes)};
  return part;
}

// The fault (a): with `draws` the mask comes from a counter that moves with every run, as a generator's state would.
struct MaskedDropout {
  static constexpr std::string_view name = "masked_dropout";
  std::shared_ptr<std::uint64_t> draws;

  Prepared prepare(Prep&, std::span<const Meta> in, Needs needs) const {
    Prepared out;
    const Meta meta = Meta::plain(in[0].shape);
    out.outputs = {meta, Meta::plain(in[0].shape, u8)};
    out.visible = 1;
    out.input_layouts = {Layout{}};
    out.work = {0, 2.0 * static_cast<double>(meta.bytes)};
    out.random = true;
    if (needs[0]) out.parts.push_back(elementwise_part(meta, {Saved::output(1)}));
    return out;
  }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::uint64_t key = draws != nullptr ? ++*draws : std::uint64_t{ctx.rng().step} << 32 | ctx.rng().ordinal;
    auto* mask = out[1].as<std::uint8_t>();
    for (std::int64_t i = 0; i < in[0].numel(); ++i) {
      mask[i] = static_cast<std::uint8_t>(scramble(key, i) >> 31);
      out[0].as()[i] = mask[i] != 0 ? 2 * in[0].as()[i] : 0;
    }
  }
  void backward(Ctx&, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto* mask = saved[0].as<std::uint8_t>();
    for (std::int64_t i = 0; i < gx[0].numel(); ++i) gx[0].as()[i] = mask[i] != 0 ? 2 * gy[0].as()[i] : 0;
  }
};

// y = x - mean(x), and the mean.
struct Center {
  static constexpr std::string_view name = "center";
  bool writes_running = false;  // the fault (b): input 1 is changed by forward, and nobody is told

  void describe(Attributes& a) const { a("writes_running", writes_running); }
  Prepared prepare(Prep&, std::span<const Meta> in, Needs needs) const {
    Prepared out;
    const Meta meta = Meta::plain(in[0].shape);
    out.outputs = {meta, Meta::plain({1})};
    out.input_layouts = {Layout{}, Layout{}};
    out.work = {0, 2.0 * static_cast<double>(meta.bytes)};
    if (needs[0]) out.parts.push_back(elementwise_part(meta, {}));
    return out;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf> out) const {
    double total = 0;
    for (std::int64_t i = 0; i < in[0].numel(); ++i) total += static_cast<double>(in[0].as()[i]);
    const auto mean = static_cast<float>(total / static_cast<double>(in[0].numel()));
    for (std::int64_t i = 0; i < in[0].numel(); ++i) out[0].as()[i] = in[0].as()[i] - mean;
    out[1].as()[0] = mean;
    if (writes_running) in[1].as()[0] = 0.9f * in[1].as()[0] + 0.1f * mean;
  }
  void backward(Ctx&, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    double total = 0;
    for (std::int64_t i = 0; i < gy[0].numel(); ++i) total += static_cast<double>(gy[0].as()[i]);
    const auto mean = static_cast<float>(total / static_cast<double>(gy[0].numel()));
    for (std::int64_t i = 0; i < gx[0].numel(); ++i) gx[0].as()[i] = gy[0].as()[i] - mean;
  }
};

// What Center should leave to an op that says what it updates.
struct RunningMean {
  static constexpr std::string_view name = "running_mean";
  Prepared prepare(Prep&, std::span<const Meta>, Needs) const {
    Prepared out;
    out.input_layouts = {Layout{}, Layout{}};
    out.updates = {1};
    return out;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf>) const {
    in[1].as()[0] = 0.9f * in[1].as()[0] + 0.1f * in[0].as()[0];
  }
};

// y = x * p. The fault (c): a replay takes the parameter as it was a step ago.
struct Scale {
  static constexpr std::string_view name = "scale";
  struct Memory {
    std::vector<float> fresh, stale;  // the parameter in this step and in the one before
    std::uint32_t step = 0;
    bool ran = false;  // in this step
  };
  std::shared_ptr<Memory> memory;  // null: honest

  Prepared prepare(Prep&, std::span<const Meta> in, Needs needs) const {
    Prepared out;
    const Meta meta = Meta::plain(in[0].shape);
    out.outputs = {meta};
    out.input_layouts = {Layout{}, Layout{}};
    out.work = {0, 3.0 * static_cast<double>(meta.bytes)};
    out.random = true;  // for the step in ctx.rng()
    for (int input = 0; input < 2; ++input) {
      if (!needs[static_cast<std::size_t>(input)]) continue;
      Part part = elementwise_part(meta, {Saved::input(1 - input, Layout{})});
      part.inputs = {input};
      out.parts.push_back(part);
    }
    return out;
  }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const float* p = in[1].as();
    if (memory != nullptr) {
      if (memory->step != ctx.rng().step) {
        memory->stale = std::move(memory->fresh);
        memory->step = ctx.rng().step;
        memory->ran = false;
      }
      if (memory->ran && !memory->stale.empty()) p = memory->stale.data();
      if (!memory->ran) memory->fresh.assign(in[1].as(), in[1].as() + in[1].numel());
      memory->ran = true;
    }
    for (std::int64_t i = 0; i < in[0].numel(); ++i) out[0].as()[i] = in[0].as()[i] * p[i];
  }
  void backward(Ctx&, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    for (std::int64_t i = 0; i < gx[0].numel(); ++i) gx[0].as()[i] = gy[0].as()[i] * saved[0].as()[i];
  }
};

struct Probe {
  Tensor weight;
  std::vector<Tensor> running;  // one a layer
  std::function<Tensor(int layer, const Tensor& x)> op;
};

struct Run {
  Trace trace;
  std::int64_t recomputed = 0;
  std::string error;
};

// Trains a deep chain of activations in which `make` puts the op under test.
Run run(std::optional<std::int64_t> budget, bool verify, const std::function<void(Probe&)>& make) {
  Session session({.budget = budget, .threads = 2, .verify_replay = verify});
  Probe net;
  net.weight = parameter(uniform(kMiB, 0.9f, 1.1f), "weight");
  for (int i = 0; i < kLayers; ++i) net.running.push_back(state({1}, f32, Category::kParameters, "running"));
  make(net);
  optim::SGD optimizer({net.weight}, {.lr = 100, .state = f32});
  Run result;
  try {
    for (int step = 0; step < kSteps; ++step) {
      {
        Tensor y = net.weight;
        for (int layer = 0; layer < kLayers; ++layer) y = gelu(net.op(layer, y) * 1.5f);
        const Tensor loss = mean(mul(y, y));
        loss.backward();
        result.trace.emplace_back("loss", bits(loss));
      }
      result.trace.emplace_back("gradient", bits(net.weight.grad()));
      optimizer.step();
      optimizer.zero_grad();
      result.trace.emplace_back("weight", bits(net.weight));
      for (const Tensor& running : net.running) result.trace.emplace_back("running mean", bits(running));
    }
  } catch (const BudgetError&) {
    throw;
  } catch (const Error& error) {
    result.error = error.what();
  }
  result.recomputed = session.report().recomputed_ops;
  return result;
}

struct Verdict {
  std::optional<std::string> difference;  // between a run without a budget and one that recomputes
  std::string verify_replay;
};

Verdict examine(const std::function<void(Probe&)>& make) {
  const Run unlimited = run(std::nullopt, true, make);
  EXPECT_EQ(unlimited.error, "");
  EXPECT_EQ(unlimited.recomputed, 0);
  const std::int64_t budget = 10_MiB;
  const Run limited = run(budget, false, make);
  EXPECT_EQ(limited.error, "");
  EXPECT_GT(limited.recomputed, kLayers);
  return {first_difference(unlimited.trace, limited.trace), run(budget, true, make).error};
}

void expect_honest(const Verdict& verdict) {
  EXPECT_EQ(verdict.difference, std::nullopt);
  EXPECT_EQ(verdict.verify_replay, "");
}

TEST(FaultsTest, FreshMaskInReplay) {
  const auto honest = [](Probe& net) { net.op = [](int, const Tensor& x) { return apply(MaskedDropout{}, {x}); }; };
  expect_honest(examine(honest));
  std::string line;
  const auto faulty = [&line](Probe& net) {
    net.op = [&line, draws = std::make_shared<std::uint64_t>(0)](int, const Tensor& x) {
      line = next_line();
      return apply(MaskedDropout{draws}, {x});
    };
  };
  const Verdict verdict = examine(faulty);
  EXPECT_EQ(verdict.difference, "gradient") << "the loss was computed before anything was discarded";
  EXPECT_THAT(verdict.verify_replay, AllOf(HasSubstr("masked_dropout"), HasSubstr(line)));
}

TEST(FaultsTest, StatisticsUpdatedTwice) {
  const auto honest = [](Probe& net) {
    net.op = [&net](int layer, const Tensor& x) {
      const std::vector<Tensor> out = apply_all(any_op(Center{false}), std::vector{x}, SourceLocation::current());
      const Tensor update[] = {out[1], net.running[static_cast<std::size_t>(layer)]};
      apply_all(any_op(RunningMean{}), update, SourceLocation::current());
      return out[0] + 0.5f;
    };
  };
  expect_honest(examine(honest));
  const auto faulty = [](Probe& net) {
    net.op = [&net](int layer, const Tensor& x) {
      const Tensor inputs[] = {x, net.running[static_cast<std::size_t>(layer)]};
      return apply_all(any_op(Center{true}), inputs, SourceLocation::current())[0] + 0.5f;
    };
  };
  EXPECT_EQ(examine(faulty).difference, "running mean");
}

TEST(FaultsTest, StaleParameterInReplay) {
  const auto honest = [](Probe& net) {
    net.op = [&net](int, const Tensor& x) { return apply(Scale{}, {x, net.weight}); };
  };
  expect_honest(examine(honest));
  const auto faulty = [](Probe& net) {
    std::vector<std::shared_ptr<Scale::Memory>> memories(kLayers);
    for (auto& memory : memories) memory = std::make_shared<Scale::Memory>();
    net.op = [&net, memories](int layer, const Tensor& x) {
      return apply(Scale{memories[static_cast<std::size_t>(layer)]}, {x, net.weight});
    };
  };
  const Verdict verdict = examine(faulty);
  EXPECT_EQ(verdict.difference, "gradient");
  EXPECT_THAT(verdict.verify_replay, HasSubstr("scale at "));
}

// The engine's own way to a stale parameter, and the version check that closes it: a replay after the parameter has
// changed would compute with the new content what was first computed with the old.
TEST(FaultsTest, ParameterChangedBeforeReplay) {
  for (const std::optional<std::int64_t> budget : {std::optional<std::int64_t>(), std::optional(10_MiB)}) {
    const Session session({.budget = budget, .threads = 2, .verify_replay = true});
    Tensor w = parameter(uniform(kMiB, 0.9f, 1.1f), "w");
    std::vector<Tensor> values = {w};
    for (int i = 0; i < 16; ++i) values.push_back(mul(values.back(), w));
    const Tensor loss = mean(values.back());
    std::vector<float> other(static_cast<std::size_t>(w.numel()), 2.0f);
    const std::string line = next_line();
    w.assign(std::span<const float>(other));
    for (const Tensor& value : values) {
      if (value.is_leaf()) continue;
      EXPECT_THAT(error_of([&] { (void)value.to_vector(); }), HasSubstr(line));
    }
    EXPECT_THAT(error_of([&] { loss.backward(); }), HasSubstr(line));
    EXPECT_EQ(w.to_vector()[0], 2.0f);
  }
}

}  // namespace
}  // namespace tidemark::test
