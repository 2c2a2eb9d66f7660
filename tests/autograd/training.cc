#include "tests/autograd/training.h"

#include <functional>
#include <memory>

#include "tests/autograd/support.h"
#include "tidemark/data.h"
#include "tidemark/models.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"

namespace tidemark::test {
namespace {

struct Trained {
  std::function<Tensor(const Tensor&)> forward;
  std::vector<Parameter> parameters;
  std::vector<Parameter> state;
  data::Loader loader;
};

template <class M>
Trained trained(M model, data::Loader loader) {
  auto shared = std::make_shared<M>(std::move(model));
  return {[shared](const Tensor& x) { return (*shared)(x); }, shared->parameters(), shared->state(), std::move(loader)};
}

Trained make(Model model) {
  switch (model) {
    case Model::kMlp:
      return trained(
          nn::mlp({.sizes = {192, 128, 128, 128, 128, 128, 128, 128, 128, 10}}),
          data::synthetic(data::SyntheticImagesOptions{.count = 4096, .channels = 3, .image = 8}, {.batch = 512}));
    case Model::kVgg16:
      return trained(nn::vgg16({.image = 32, .classes = 10, .width = 4, .batch_norm = true, .dropout = 0.5f}),
                     data::synthetic(data::SyntheticImagesOptions{.count = 128, .image = 32}, {.batch = 16}));
    case Model::kGpt:
      return trained(
          nn::Gpt({.layers = 3, .width = 32, .heads = 4, .context = 32, .vocabulary = 64, .dropout = 0.1f}),
          data::synthetic(data::SyntheticTokensOptions{.count = 128, .context = 32, .vocabulary = 64}, {.batch = 16}));
  }
  throw Error("unknown model");
}

std::unique_ptr<optim::Optimizer> make(Rule rule, const std::vector<Parameter>& parameters) {
  if (rule == Rule::kAdamW) return std::make_unique<optim::AdamW>(parameters, optim::AdamWOptions{.lr = 1e-3f});
  return std::make_unique<optim::SGD>(parameters, optim::SGDOptions{.lr = 0.01f, .momentum = 0.9f});
}

}  // namespace

std::string name(Model model, Rule rule) {
  static constexpr const char* kModels[] = {"Mlp", "Vgg16", "Gpt"};
  return std::string(kModels[static_cast<int>(model)]) + (rule == Rule::kAdamW ? "AdamW" : "Sgd");
}

TrainingResult train(const TrainingOptions& options) {
  Session session({.budget = options.budget, .threads = 2, .seed = 7, .verify_replay = options.verify_replay});
  Trained net = make(options.model);
  const auto optimizer = make(options.rule, net.parameters);
  TrainingResult result;
  auto batch = net.loader.begin();
  for (int s = 0; s < options.steps; ++s, ++batch) {
    const std::string step = "step " + std::to_string(s) + ": ";
    {
      const Tensor loss = cross_entropy(net.forward((*batch).x), (*batch).y);
      loss.backward();
      result.trace.emplace_back(step + "loss", bits(loss));
    }
    for (const Parameter& parameter : net.parameters) {
      result.trace.emplace_back(step + "gradient of " + parameter.name(), bits(parameter.grad()));
    }
    optimizer->step();
    optimizer->zero_grad();
    for (const auto* list : {&net.parameters, &net.state}) {
      for (const Parameter& tensor : *list) result.trace.emplace_back(step + tensor.name(), bits(tensor));
    }
    const Report report = session.report();
    result.steps.push_back(report.last_step);
    result.reserved.push_back(report.reserved_bytes);
  }
  result.report = session.report();
  result.graph = session.graph();
  return result;
}

std::optional<std::string> first_difference(const Trace& a, const Trace& b) {
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (a[i] != b[i]) return a[i].first;
  }
  if (a.size() != b.size()) return "the number of values";
  return std::nullopt;
}

}  // namespace tidemark::test
