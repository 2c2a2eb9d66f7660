// minimize(): the same bits as backward() and step(), at every budget, and gradients that die at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/autograd/support.h"
#include "tidemark/clip.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using optim::MinimizeOptions;

enum class Way { kApart, kEach, kWhole };

// One step of training.
void take_step(optim::Optimizer& optimizer, const Tensor& loss, Way way) {
  if (way == Way::kApart) {
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
  } else {
    optimizer.minimize(loss,
                       {.check = way == Way::kEach ? MinimizeOptions::Check::kEach : MinimizeOptions::Check::kWhole});
  }
}

// Trains, and gives all that was computed.
using Program = std::vector<float> (*)(Way);

void append(std::vector<float>& to, const Tensor& tensor) {
  for (float value : tensor.to_vector()) to.push_back(value);
}

std::vector<float> mlp(Way way) {
  nn::Sequential net(nn::Linear({.in = 32, .out = 64}), nn::ReLU(), nn::Linear({.in = 64, .out = 64}), nn::GELU(),
                     nn::Linear({.in = 64, .out = 10}));
  optim::AdamW optimizer(net.parameters());
  const Tensor x = normal({48, 32}, 0, 1);
  std::vector<float> seen;
  for (int i = 0; i < 4; ++i) {
    const Tensor logits = net(x);  // held over the step
    const Tensor loss = cross_entropy(logits, zeros({48}, i32));
    take_step(optimizer, loss, way);
    append(seen, loss);
    append(seen, logits);
  }
  for (const Parameter& parameter : net.parameters()) append(seen, parameter);
  return seen;
}

std::vector<float> cnn(Way way) {
  nn::BatchNorm2d norm({.features = 8});
  nn::Sequential first(nn::Conv2d({.in = 3, .out = 8, .padding = 1}));
  nn::Sequential rest(nn::ReLU(), nn::Conv2d({.in = 8, .out = 8, .padding = 1}), nn::MaxPool2d({.kernel = 2}),
                      nn::Dropout({.p = 0.3f}), nn::Flatten(), nn::Linear({.in = 128, .out = 10}));
  std::vector<Parameter> parameters = first.parameters();
  for (nn::Module* module : std::vector<nn::Module*>{&norm, &rest}) {
    for (const Parameter& parameter : module->parameters()) parameters.push_back(parameter);
  }
  optim::SGD optimizer(parameters, {.lr = 0.05f, .momentum = 0.9f, .nesterov = true});
  std::vector<float> seen;
  for (int i = 0; i < 4; ++i) {
    const Tensor loss = cross_entropy(rest(norm(first(normal({4, 3, 8, 8}, 0, 1)))), zeros({4}, i32));
    take_step(optimizer, loss, way);
    append(seen, loss);
  }
  for (const Parameter& parameter : parameters) append(seen, parameter);
  append(seen, norm.running_mean);
  append(seen, norm.running_variance);
  return seen;
}

// One matrix is the embedding and the head, and is read between through detach().
std::vector<float> tied(Way way) {
  const Tensor table = parameter(normal({20, 16}, 0, 0.3f), "table");
  const Tensor unused = parameter(normal({4}, 0, 1), "unused");
  nn::Linear middle({.in = 16, .out = 16});
  std::vector<Parameter> parameters = {Parameter(table, "table"), Parameter(unused, "unused")};
  for (const Parameter& parameter : middle.parameters()) parameters.push_back(parameter);
  optim::AdamW optimizer(parameters);
  std::vector<std::int32_t> tokens(24);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>(i * 7 % 20);
  std::vector<float> seen;
  for (int i = 0; i < 4; ++i) {
    const Tensor h = gelu(middle(embedding(tensor(tokens, {24}), table)));
    const Tensor g = h * slice(embedding(tensor(tokens, {24}), table.detach()), 0, 0, 24);
    const Tensor loss = cross_entropy(linear(g, table), tensor(tokens, {24}));
    take_step(optimizer, loss, way);
    append(seen, loss);
  }
  append(seen, table);
  append(seen, unused);
  return seen;
}

// The weights are used at every point of time, and the state goes on from step to step.
std::vector<float> recurrent(Way way) {
  nn::Linear input({.in = 8, .out = 24});
  nn::Linear hidden({.in = 24, .out = 24});
  std::vector<Parameter> parameters = input.parameters();
  for (const Parameter& parameter : hidden.parameters()) parameters.push_back(parameter);
  optim::SGD optimizer(parameters, {.lr = 0.02f, .momentum = 0.9f});
  Tensor state = zeros({16, 24});
  std::vector<float> seen;
  for (int i = 0; i < 4; ++i) {
    Tensor total = zeros({});
    for (int t = 0; t < 4; ++t) {
      state = tanh(input(normal({16, 8}, 0, 1)) + hidden(state));
      total = total + mean(square(state));
    }
    const Tensor next = state.detach();
    take_step(optimizer, total, way);
    state = next;
    append(seen, total);
  }
  for (const Parameter& parameter : parameters) append(seen, parameter);
  append(seen, state);
  return seen;
}

// Two optimizers, each with a loss that reaches the other's parameters.
std::vector<float> adversarial(Way way) {
  nn::Sequential generator(nn::Linear({.in = 8, .out = 32}), nn::ReLU(), nn::Linear({.in = 32, .out = 16}));
  nn::Sequential critic(nn::Linear({.in = 16, .out = 32}), nn::ReLU(), nn::Linear({.in = 32, .out = 1}));
  optim::AdamW of_generator(generator.parameters());
  optim::AdamW of_critic(critic.parameters());
  std::vector<float> seen;
  for (int i = 0; i < 4; ++i) {
    const Tensor fake = generator(normal({12, 8}, 0, 1));
    const Tensor for_critic = mean(critic(fake)) - mean(critic(normal({12, 16}, 0, 1)));
    take_step(of_critic, for_critic, way);
    of_generator.zero_grad();
    const Tensor for_generator = -mean(critic(generator(normal({12, 8}, 0, 1))));
    take_step(of_generator, for_generator, way);
    of_critic.zero_grad();
    append(seen, for_critic);
    append(seen, for_generator);
  }
  for (const Parameter& parameter : generator.parameters()) append(seen, parameter);
  for (const Parameter& parameter : critic.parameters()) append(seen, parameter);
  return seen;
}

struct Case {
  const char* name;
  Program program;
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

class MinimizeTest : public ::testing::TestWithParam<Case> {};

TEST_P(MinimizeTest, GivesTheBitsOfBackwardAndStep) {
  const Program program = GetParam().program;
  std::vector<float> expected;
  {
    const Session session({.threads = 2});
    expected = program(Way::kApart);
  }
  std::int64_t peak = 0;
  {
    const Session session({.threads = 2});
    EXPECT_TRUE(same_bits(program(Way::kEach), expected));
    peak = session.report().peak_bytes;
  }
  {
    const Session session({.threads = 2});
    EXPECT_TRUE(same_bits(program(Way::kWhole), expected));
  }
  const std::int64_t smallest = smallest_budget({.threads = 2}, [&] { (void)program(Way::kEach); });
  for (const int part : {0, 1, 2, 3, 4}) {
    const std::int64_t budget = smallest + (peak - smallest) * part / 4;
    const Session session({.budget = budget, .threads = 2, .verify_replay = part == 1});
    EXPECT_TRUE(same_bits(program(Way::kEach), expected)) << budget;
    EXPECT_LE(session.report().peak_bytes, budget);
  }
}

INSTANTIATE_TEST_SUITE_P(Programs, MinimizeTest,
                         ::testing::Values(Case{"mlp", mlp}, Case{"cnn", cnn}, Case{"tied", tied},
                                           Case{"recurrent", recurrent}, Case{"adversarial", adversarial}),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(MinimizeBytes, GradientsDieAtOnce) {
  // 16 layers whose weights are large beside their activations: all gradients are 16 MiB.
  const auto peak = [](Way way) {
    const Session session({.threads = 1});
    std::vector<Parameter> weights;
    for (int i = 0; i < 16; ++i) weights.emplace_back(parameter(normal({512, 512}, 0, 0.04f), "w" + std::to_string(i)));
    optim::SGD optimizer(weights);
    for (int i = 0; i < 3; ++i) {
      Tensor h = normal({4, 512}, 0, 1);
      for (const Parameter& weight : weights) h = linear(h, weight);
      take_step(optimizer, mean(square(h)), way);
      for (const Parameter& weight : weights) EXPECT_FALSE(weight.grad().defined());
    }
    return session.report().peak_by_category[static_cast<int>(Category::kGradients)];
  };
  EXPECT_EQ(peak(Way::kApart), 16_MiB);
  EXPECT_EQ(peak(Way::kWhole), 16_MiB);
  EXPECT_EQ(peak(Way::kEach), 1_MiB);
}

// The gradient of what went into a layer is computed before that of its weight, which then dies at once.
TEST(MinimizeBytes, WeightsComeLast) {
  const Session session({.threads = 2});
  nn::Sequential net(nn::Linear({.in = 784, .out = 1024}), nn::ReLU(), nn::Linear({.in = 1024, .out = 1024}),
                     nn::ReLU(), nn::Linear({.in = 1024, .out = 10}));
  optim::SGD optimizer(net.parameters());
  const Tensor x = normal({128, 784}, 0, 1);
  const Tensor y = zeros({128}, i32);
  for (int i = 0; i < 3; ++i) optimizer.minimize(cross_entropy(net(x), y));
  EXPECT_LE(session.report().last_step.peak_bytes, 14'300'000);
}

// Clipped gradients are what clip_grad_value() and clip_grad_norm() make of them, and take the bytes that are said.
TEST(MinimizeClipped, GivesTheBitsOfTheCallsApart) {
  const auto train = [](int way) {
    const Session session({.threads = 2});
    nn::Sequential net(nn::Linear({.in = 32, .out = 64}), nn::ReLU(), nn::Linear({.in = 64, .out = 8}));
    optim::AdamW optimizer(net.parameters());
    EXPECT_EQ(optimizer.gradient_bytes(), 4 * (32 * 64 + 64 + 64 * 8 + 16));
    for (int i = 0; i < 3; ++i) {
      const Tensor loss = mean(square(net(normal({16, 32}, 0, 1)))) * 100.0f;
      if (way == 0) {
        loss.backward();
        optim::clip_grad_value(net.parameters(), 0.5f);
        EXPECT_GT(optim::clip_grad_norm(net.parameters(), 0.7f), 0.7f);
        optimizer.step();
        optimizer.zero_grad();
      } else {
        optimizer.minimize(loss, {.clip_value = 0.5f, .clip_norm = way == 1 ? 0.7f : 0});
      }
    }
    std::vector<float> weights;
    for (const Parameter& parameter : net.parameters()) append(weights, parameter);
    return weights;
  };
  EXPECT_TRUE(same_bits(train(0), train(1)));
  EXPECT_FALSE(same_bits(train(0), train(2)));
}

}  // namespace
}  // namespace tidemark::test
