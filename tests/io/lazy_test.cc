// Weights that stay in their file: the bits of a model that is in memory, in less of it.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/io/run.h"
#include "tidemark/tidemark.h"

namespace tidemark::io {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

template <class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

constexpr nn::GptOptions kGpt = {.layers = 4, .width = 64, .heads = 4, .context = 16, .vocabulary = 200, .dropout = 0};
constexpr std::int64_t kBatch = 2;

std::vector<std::int32_t> tokens_of(int step, int shift) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(kBatch * kGpt.context));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] =
        static_cast<std::int32_t>((i + static_cast<std::size_t>(shift)) * 31 + static_cast<std::size_t>(step) * 7) %
        static_cast<std::int32_t>(kGpt.vocabulary);
  }
  return tokens;
}

// A frozen gpt; its weights in memory, or in their file.
struct Frozen {
  Frozen(const std::string& file, bool lazy) {
    std::optional<DeferredInit> deferred;
    if (lazy) deferred.emplace();
    net.emplace(kGpt);
    deferred.reset();
    freeze(net->parameters(), "*");
    load(*net, file, {.lazy = lazy});
    net->eval();
  }
  std::optional<nn::Gpt> net;
};

class Lazy : public ::testing::Test {
 protected:
  void SetUp() override {
    Session session({.threads = 1});
    nn::Gpt net(kGpt);
    save(net, file_);
    for (const Parameter& p : net.parameters()) weight_bytes_ += 4 * p.numel();
  }
  Folder folder_;
  std::string file_ = folder_ / "gpt.safetensors";
  std::int64_t weight_bytes_ = 0;
};

struct Outcome {
  std::vector<float> losses;
  std::vector<float> trained;
  std::int64_t peak_bytes = 0;
};

TEST_F(Lazy, EvaluatesAModelThatIsLargerThanTheBudget) {
  const auto evaluate = [&](bool lazy, std::optional<std::int64_t> budget) {
    Session session({.budget = budget, .threads = 1, .verify_replay = true});
    Frozen model(file_, lazy);
    Outcome outcome;
    for (int step = 0; step < 5; ++step) {
      const NoGrad no_grad;
      const Tensor x = tensor(tokens_of(step, 0), {kBatch, kGpt.context});
      const Tensor y = tensor(tokens_of(step, 1), {kBatch, kGpt.context});
      outcome.losses.push_back(model.net->loss(x, y).item());
    }
    outcome.peak_bytes = session.report().peak_bytes;
    return outcome;
  };
  const Outcome resident = evaluate(false, {});
  EXPECT_GT(resident.peak_bytes, weight_bytes_);
  for (const int percent : {100, 60, 45}) {
    const std::int64_t budget = weight_bytes_ * percent / 100;
    const Outcome lazy = evaluate(true, budget);
    EXPECT_EQ(lazy.losses, resident.losses) << percent;
    EXPECT_LE(lazy.peak_bytes, budget);
  }
}

// Weights stay in memory from step to step as far as there is room: a step reads the others alone.
TEST_F(Lazy, ReadsAgainWhatDoesNotFit) {
  const auto reads_of_a_step = [&](std::optional<std::int64_t> budget) {
    Session session({.budget = budget, .threads = 1});
    Frozen model(file_, true);
    std::vector<int> reads;
    std::vector<float> losses;
    for (int step = 0; step < 12; ++step) {
      session.start_timeline();
      const NoGrad no_grad;
      const Tensor x = tensor(tokens_of(step, 0), {kBatch, kGpt.context});
      losses.push_back(model.net->loss(x, x).item());
      const Timeline timeline = session.stop_timeline();
      reads.push_back(
          static_cast<int>(std::count_if(timeline.spans.begin(), timeline.spans.end(), [&](const auto& span) {
            return timeline.labels[static_cast<std::size_t>(span.label)].name.starts_with("read ");
          })));
    }
    return std::pair(reads, losses);
  };
  const auto [free_reads, free_losses] = reads_of_a_step({});
  const auto weights = static_cast<int>(TensorFile(file_).tensors().size());
  EXPECT_EQ(free_reads, (std::vector{weights, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  int before = weights;
  for (const int percent : {45, 60, 80, 130}) {
    const auto [reads, losses] = reads_of_a_step(weight_bytes_ * percent / 100);
    EXPECT_EQ(losses, free_losses) << percent;
    EXPECT_LT(reads.back(), before) << percent;
    EXPECT_EQ(reads[10], reads[11]) << ::testing::PrintToString(reads);
    before = reads.back();
  }
  EXPECT_EQ(before, 0);
}

// Two linear layers beside the frozen blocks' output, and their own head.
TEST_F(Lazy, TunesAHeadOnAModelThatIsLargerThanTheBudget) {
  const auto tune = [&](bool lazy, std::optional<std::int64_t> budget) {
    Session session({.budget = budget, .threads = 1, .seed = 3, .verify_replay = true});
    Frozen model(file_, lazy);
    nn::Linear down({.in = kGpt.vocabulary, .out = 8});
    nn::Linear up({.in = 8, .out = kGpt.vocabulary});
    std::vector<Parameter> parameters = down.parameters();
    for (const Parameter& p : up.parameters()) parameters.push_back(p);
    optim::AdamW optimizer(parameters, {.lr = 1e-2f});
    Outcome outcome;
    for (int step = 0; step < 6; ++step) {
      const Tensor x = tensor(tokens_of(step, 0), {kBatch, kGpt.context});
      const Tensor y = tensor(tokens_of(step, 1), {kBatch, kGpt.context});
      const Tensor logits = (*model.net)(x);
      const Tensor loss = cross_entropy(logits + up(relu(down(logits))), y);
      loss.backward();
      optimizer.step();
      optimizer.zero_grad();
      outcome.losses.push_back(loss.item());
    }
    for (const Parameter& p : parameters) {
      const std::vector<float> elements = p.to_vector();
      outcome.trained.insert(outcome.trained.end(), elements.begin(), elements.end());
    }
    outcome.peak_bytes = session.report().peak_bytes;
    return outcome;
  };
  const Outcome resident = tune(false, {});
  for (const int percent : {150, 100, 80}) {
    const std::int64_t budget = weight_bytes_ * percent / 100;
    const Outcome lazy = tune(true, budget);
    EXPECT_EQ(lazy.losses, resident.losses) << percent;
    EXPECT_EQ(lazy.trained, resident.trained) << percent;
    EXPECT_LE(lazy.peak_bytes, budget);
  }
}

// The gradient goes through frozen weights that are in the file, to what is in front of them.
TEST_F(Lazy, GradientsGoThroughFrozenWeights) {
  const auto gradient = [&](bool lazy) {
    Session session({.budget = lazy ? std::optional(weight_bytes_ / 2) : std::nullopt, .threads = 1});
    std::optional<nn::Sequential> net;
    {
      std::optional<DeferredInit> deferred;
      if (lazy) deferred.emplace();
      net.emplace(nn::Linear({.in = 40, .out = 60}), nn::Tanh(), nn::Linear({.in = 60, .out = 1}));
    }
    const std::string file = folder_ / "head.safetensors";
    if (!lazy) save(*net, file);
    freeze(net->parameters(), "*");
    load(*net, file, {.lazy = lazy});
    Tensor x = full({5, 40}, 0.25f);
    x.set_requires_grad(true);
    sum((*net)(x)).backward();
    return x.grad().to_vector();
  };
  const std::vector<float> expected = gradient(false);
  EXPECT_EQ(gradient(true), expected);
}

TEST_F(Lazy, WeightsInTheirFileAreReadSavedAndNeverChanged) {
  Session session({.budget = weight_bytes_ / 2, .threads = 1});
  Frozen model(file_, true);
  EXPECT_EQ(session.report().live_bytes, 0);
  Session other({.threads = 1});
  nn::Gpt resident(kGpt);
  load(resident, file_);
  const std::vector<Parameter> expected = resident.parameters();
  std::vector<Parameter> lazy = model.net->parameters();
  for (std::size_t i = 0; i < lazy.size(); ++i) EXPECT_EQ(lazy[i].to_vector(), expected[i].to_vector());
  EXPECT_FALSE(lazy[0].is_resident());
  save(*model.net, folder_ / "copy.safetensors");
  EXPECT_EQ(read_bytes(folder_ / "copy.safetensors"), read_bytes(file_));
  EXPECT_THAT(message_of([&] { lazy[0].assign(std::span<const float>(std::vector<float>(200 * 64))); }),
              AllOf(HasSubstr("is read from its file"), HasSubstr("lazy_test.cc")));
  EXPECT_THAT(message_of([&] { thaw(lazy, "*norm.weight"); }), HasSubstr("cannot be trained"));
}

TEST_F(Lazy, WhatHasNoElementsYetIsNotRead) {
  Session session({.threads = 1});
  std::optional<nn::Linear> linear;
  {
    const DeferredInit deferred;
    linear.emplace(nn::LinearOptions{.in = 4, .out = 3});
  }
  EXPECT_EQ(session.report().live_bytes, 0);
  const Tensor x = uniform({2, 4}, -1, 1);
  EXPECT_THAT(message_of([&] { (void)(*linear)(x); }),
              AllOf(HasSubstr("was made under DeferredInit"), HasSubstr("load them first")));
  EXPECT_THAT(message_of([&] { (void)linear->weight.to_vector(); }), HasSubstr("has no elements yet"));
  linear->weight.assign(std::span<const float>(std::vector<float>(12, 2)));
  linear->bias.assign(std::span<const float>(std::vector<float>(3, 1)));
  const Tensor loss = sum((*linear)(x));
  loss.backward();
  EXPECT_EQ(linear->bias.grad().to_vector(), std::vector<float>(3, 2));
}

TEST_F(Lazy, KeysAreDrawnAsWithoutDeferredInit) {
  const auto draw = [](bool deferred_first) {
    Session session({.threads = 1});
    {
      std::optional<DeferredInit> deferred;
      if (deferred_first) deferred.emplace();
      const nn::Gpt net(kGpt);
      const nn::MultiheadAttention attention({.width = 8, .heads = 2});
    }
    return uniform({4}, 0, 1).to_vector();
  };
  EXPECT_EQ(draw(true), draw(false));
}

// Entries of .npz files are read one at a time, also where the reader's thread has begun one when another is wanted: a
// large weight, and small ones for which there is room together once it has been used.
TEST_F(Lazy, WeightsInNpzFilesAreReadOneAtATime) {
  struct Weights : nn::Module {
    std::vector<nn::Linear> layers;
    Weights() {
      for (int i = 0; i < 8; ++i) {
        layers.emplace_back(nn::LinearOptions{.in = 512, .out = i == 0 ? 4096 : 512, .bias = false});
      }
    }
    void visit(nn::Visitor& visitor) override {
      for (std::size_t i = 0; i < layers.size(); ++i) visitor.child(std::to_string(i), layers[i]);
    }
  };
  const std::string npz = folder_ / "weights.npz";
  const auto elements_of = [](std::size_t i) { return std::int64_t{512} * (i == 0 ? 4096 : 512); };
  std::vector<TensorToWrite> tensors;
  for (std::size_t i = 0; i < 8; ++i) {
    tensors.push_back(
        {std::to_string(i) + ".weight", StoredType::kF32, {i == 0 ? 4096 : 512, 512}, [=](const AppendBytes& append) {
           const std::vector<float> values(static_cast<std::size_t>(elements_of(i)), static_cast<float>(i + 1));
           append(values.data(), 4 * elements_of(i));
         }});
  }
  write_tensors(npz, tensors);
  Session session({.budget = std::int64_t{17} << 19, .threads = 1});  // the large one of 8 MiB, and half of a small one
  std::optional<Weights> weights;
  {
    const DeferredInit deferred;
    weights.emplace();
  }
  freeze(weights->parameters(), "*");
  load(*weights, npz, {.lazy = true});
  for (int step = 0; step < 40; ++step) {
    const NoGrad no_grad;
    Tensor x = zeros({1});
    for (const nn::Linear& layer : weights->layers) x = x + amax(layer.weight) + amin(layer.weight);
    ASSERT_EQ(x.item(), 2 * 36) << step;
  }
}

TEST_F(Lazy, ExplanationsCountWhatIsRead) {
  Session session({.budget = weight_bytes_ / 2, .threads = 1});
  Frozen model(file_, true);
  for (int step = 0; step < 12; ++step) {
    const NoGrad no_grad;
    const Tensor x = tensor(tokens_of(step, 0), {kBatch, kGpt.context});
    (void)model.net->loss(x, x).item();
  }
  const Explanation explanation = session.explanation(1);
  EXPECT_GT(explanation.cost, 0);
  ASSERT_TRUE(explanation.here);
  EXPECT_GT(explanation.here->cost, 0);
  EXPECT_LE(explanation.here->cost, explanation.cost * 1.01);
  ASSERT_FALSE(explanation.with_more.empty());
  EXPECT_NEAR(explanation.with_more.back().cost, 0, 1e-9);  // all weights stay
  const auto reason_of = [&](const char* text) {
    return std::any_of(explanation.values.begin(), explanation.values.end(),
                       [&](const Explanation::Value& value) { return value.why.find(text) != std::string::npos; });
  };
  EXPECT_TRUE(reason_of("it was read 1 time"));
  EXPECT_TRUE(reason_of("it stays in memory from step to step"));
}

TEST_F(Lazy, SmallestBudgetsAndDryRunsKnowThem) {
  const auto program = [&] {
    Frozen model(file_, true);
    for (int step = 0; step < 2; ++step) {
      const NoGrad no_grad;
      const Tensor x = tensor(tokens_of(step, 0), {kBatch, kGpt.context});
      (void)model.net->loss(x, x).item();
    }
  };
  const std::int64_t smallest = smallest_budget({.threads = 1}, program);
  EXPECT_LT(smallest, weight_bytes_ / 2);
  Session session({.budget = smallest, .threads = 1});
  program();
  EXPECT_LE(session.report().peak_bytes, smallest);
}

}  // namespace
}  // namespace tidemark::io
