// What minimize() saves: bytes in all and seconds a step, against backward() and step(), without a budget and inside
// one, in turns; and whether the weights are the same in every bit. Arguments: a model (gpt, vgg16, mlp; all of them
// without) and the number of rounds (3).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/models.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark {
namespace {

struct Model {
  const char* name;
  const char* what;
  std::int64_t budget;  // bytes, for minimize()
  std::unique_ptr<nn::Module> (*make)();
  Tensor (*loss)(nn::Module& module, const Tensor& x, const Tensor& y);
  Tensor (*inputs)();
  Tensor (*labels)();
  std::unique_ptr<optim::Optimizer> (*optimizer)(const std::vector<Parameter>& parameters);
};

Tensor random_classes(std::int64_t count, std::int64_t classes) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(count));
  std::uint32_t state = 1;
  for (std::int32_t& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<std::int32_t>((state >> 8) % static_cast<std::uint32_t>(classes));
  }
  return tensor(values, {count});
}

constexpr std::int64_t kVocabulary = 50257;

// VGG-16 as it is used on 32 x 32 pixels: 15.2 million parameters.
nn::Sequential small_vgg16() {
  nn::Sequential net;
  std::int64_t in = 3;
  for (const std::int64_t out : {64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0}) {
    if (out == 0) {
      net.add(nn::MaxPool2d());
      continue;
    }
    net.add(nn::Conv2d({.in = in, .out = out, .kernel = 3, .padding = 1})).add(nn::ReLU());
    in = out;
  }
  net.add(nn::Flatten());
  for (int i = 0; i < 2; ++i) net.add(nn::Linear({.in = 512, .out = 512})).add(nn::ReLU());
  net.add(nn::Linear({.in = 512, .out = 10}));
  return net;
}

const Model kModels[] = {
    {"gpt", "12 x 768, vocabulary 50,257, T 256, batch 4, AdamW f16", 1'250'000'000,
     []() -> std::unique_ptr<nn::Module> {
       return std::make_unique<nn::Gpt>(nn::GptOptions{
           .layers = 12, .width = 768, .heads = 12, .context = 256, .vocabulary = kVocabulary, .dropout = 0});
     },
     [](nn::Module& module, const Tensor& x, const Tensor& y) { return dynamic_cast<nn::Gpt&>(module).loss(x, y); },
     [] {
       return reshape(random_classes(1024, kVocabulary), {4, 256});
     },
     [] {
       return reshape(random_classes(1024, kVocabulary), {4, 256});
     },
     [](const std::vector<Parameter>& parameters) -> std::unique_ptr<optim::Optimizer> {
       return std::make_unique<optim::AdamW>(parameters);
     }},
    {"vgg16", "32 x 32, batch 64, 10 classes, SGD without momentum", 104'000'000,
     []() -> std::unique_ptr<nn::Module> { return std::make_unique<nn::Sequential>(small_vgg16()); },
     [](nn::Module& module, const Tensor& x, const Tensor& y) {
       return cross_entropy(dynamic_cast<nn::Sequential&>(module)(x), y);
     },
     [] {
       return normal({64, 3, 32, 32}, 0, 1);
     },
     [] { return random_classes(64, 10); },
     [](const std::vector<Parameter>& parameters) -> std::unique_ptr<optim::Optimizer> {
       return std::make_unique<optim::SGD>(parameters);
     }},
    {"mlp", "784-1024-1024-10, batch 128, SGD without momentum", 14'300'000,
     []() -> std::unique_ptr<nn::Module> {
       return std::make_unique<nn::Sequential>(nn::mlp({.sizes = {784, 1024, 1024, 10}}));
     },
     [](nn::Module& module, const Tensor& x, const Tensor& y) {
       return cross_entropy(dynamic_cast<nn::Sequential&>(module)(x), y);
     },
     [] {
       return normal({128, 784}, 0, 1);
     },
     [] { return random_classes(128, 10); },
     [](const std::vector<Parameter>& parameters) -> std::unique_ptr<optim::Optimizer> {
       return std::make_unique<optim::SGD>(parameters);
     }},
};

struct Way {
  const char* what;
  bool minimize = false;
  std::optional<std::int64_t> budget = {};
  std::optional<std::int64_t> smallest = {};  // where the budget does not do: the one that does
  std::int64_t peak = 0;
  std::vector<double> seconds = {};  // of all steps but the first two, which are planned
  std::vector<float> weights = {};
};

// In the current session.
void train(const Model& model, Way& way) {
  constexpr int kSteps = 6;
  const std::unique_ptr<nn::Module> module = model.make();
  const std::unique_ptr<optim::Optimizer> optimizer = model.optimizer(module->parameters());
  const Tensor x = model.inputs();
  const Tensor y = model.labels();
  for (int i = 0; i < kSteps; ++i) {
    const auto began = std::chrono::steady_clock::now();
    const Tensor loss = model.loss(*module, x, y);
    if (way.minimize) {
      optimizer->minimize(loss);
    } else {
      loss.backward();
      optimizer->step();
      optimizer->zero_grad();
    }
    if (i < 2) continue;
    way.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }
  way.peak = Session::current().report().peak_bytes;
  way.weights.clear();
  for (const Parameter& parameter : module->parameters()) {
    for (float value : parameter.to_vector()) way.weights.push_back(value);
  }
}

void run(const Model& model, Way& way) {
  if (way.smallest) return;
  try {
    const Session session({.budget = way.budget});
    train(model, way);
  } catch (const BudgetError&) {
    way.smallest = smallest_budget({}, [&] {
      Way dry{way.what, way.minimize};
      train(model, dry);
    });
  }
}

void compare(const Model& model, int rounds) {
  Way ways[] = {{"backward(), step()"}, {"minimize()", true}, {"minimize() inside the budget", true, model.budget}};
  for (int round = 0; round < rounds; ++round) {
    for (Way& way : ways) run(model, way);
  }
  std::printf("%s: %s\n", model.name, model.what);
  const auto median = [](std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  };
  const Way& apart = ways[0];
  for (const Way& way : ways) {
    if (way.smallest) {
      std::printf("  %-30s %8.1f MB do not do with this machine's kernels; the smallest budget is %.1f MB\n", way.what,
                  static_cast<double>(*way.budget) / 1e6, static_cast<double>(*way.smallest) / 1e6);
      continue;
    }
    const bool same = way.weights.size() == apart.weights.size() &&
                      std::memcmp(way.weights.data(), apart.weights.data(), apart.weights.size() * sizeof(float)) == 0;
    std::printf("  %-30s %8.1f MB %8.4f s/step   ratio %.3f   bits %s\n", way.what, static_cast<double>(way.peak) / 1e6,
                median(way.seconds), median(way.seconds) / median(apart.seconds), same ? "equal" : "DIFFER");
  }
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) {
  const std::string_view only = argc > 1 ? argv[1] : "";
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 3;
  for (const tidemark::Model& model : tidemark::kModels) {
    if (only.empty() || only == model.name) tidemark::compare(model, rounds);
  }
}
