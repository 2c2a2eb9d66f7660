#include "tools/evaluate.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <vector>

#include "tidemark/metrics.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::tools {
namespace {

constexpr double kTemperature = 0.8;

}  // namespace

Evaluation evaluate(nn::Sequential& model, const std::shared_ptr<const data::Source>& source, std::int64_t batch) {
  const NoGrad no_grad;
  model.eval();
  metrics::RunningMean loss;
  metrics::Accuracy accuracy;
  for (const auto& [x, y] : data::Loader(source, {.batch = std::min(batch, source->size())})) {
    const Tensor logits = model(x);
    loss.update(static_cast<double>(cross_entropy(logits, y).item()), y.numel());
    accuracy.update(logits, y);
  }
  model.train();
  return {.loss = loss.value(), .accuracy = accuracy.value(), .targets = accuracy.count()};
}

std::string sample_text(nn::Sequential& model, std::int64_t context, std::int64_t count, std::uint64_t seed) {
  const NoGrad no_grad;
  model.eval();
  std::mt19937_64 random(seed);
  std::vector<std::int32_t> tokens{'\n'};
  std::vector<std::int32_t> row(static_cast<std::size_t>(context));
  for (std::int64_t i = 0; i < count; ++i) {
    // The last tokens, at the row's front; what follows them cannot change what the model says there.
    const std::ptrdiff_t known = std::min<std::ptrdiff_t>(std::ssize(tokens), context);
    std::copy(tokens.end() - known, tokens.end(), row.begin());
    const Tensor logits = model(tensor(std::span<const std::int32_t>(row), {1, context}));
    const std::vector<float> last = slice(logits, 1, known - 1, known).to_vector();
    const float largest = *std::max_element(last.begin(), last.end());
    std::vector<double> weights;
    weights.reserve(last.size());
    for (const float logit : last) weights.push_back(std::exp(static_cast<double>(logit - largest) / kTemperature));
    tokens.push_back(std::discrete_distribution<std::int32_t>(weights.begin(), weights.end())(random));
  }
  model.train();
  std::string text;
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    const std::int32_t token = tokens[i];
    const bool printable = token == '\n' || token == '\t' || (token >= 32 && token < 127);
    text += printable ? static_cast<char>(token) : '?';
  }
  return text;
}

}  // namespace tidemark::tools
