#include "tests/io/run.h"

#include <xxhash.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <vector>

namespace tidemark::io {
namespace {

nn::Sequential make_net(const RunOptions& options) {
  return nn::Sequential(nn::Conv2d({.in = 1, .out = 4, .kernel = 3, .padding = 1}), nn::BatchNorm2d({.features = 4}),
                        nn::ReLU(), nn::Flatten(), nn::Linear({.in = 4 * 36, .out = options.width}), nn::Tanh(),
                        nn::Dropout({.p = 0.3f}), nn::Linear({.in = options.width, .out = 3}));
}

std::unique_ptr<optim::Optimizer> make_optimizer(nn::Sequential& net, const RunOptions& options) {
  if (options.sgd) {
    return std::make_unique<optim::SGD>(net.parameters(),
                                        optim::SGDOptions{.lr = 0.05f, .momentum = 0.9f, .state = options.state});
  }
  return std::make_unique<optim::AdamW>(
      net.parameters(),
      optim::AdamWOptions{.lr = 3e-3f, .state = options.state, .groups = {{.pattern = "*.bias", .lr = 1e-3f}}});
}

}  // namespace

TrainingRun::TrainingRun(const RunOptions& options)
    : session_({.budget = options.budget, .threads = 1, .seed = options.seed}),
      net_(make_net(options)),
      optimizer_(make_optimizer(net_, options)),
      schedule_(*optimizer_, optim::ExponentialLR{.gamma = 0.97}),
      average_(net_.parameters(), {.decay = 0.9f}),
      loader_(data::synthetic_images({.count = options.examples, .channels = 1, .image = 6, .classes = 3}),
              {.batch = options.batch, .shuffle = true}) {
  if (options.file.empty()) return;
  checkpoints_.emplace(options.file, CheckpointerOptions{.keep = options.keep});
  checkpoints_->add("model", net_)
      .add("optimizer", *optimizer_)
      .add("schedule", schedule_)
      .add("average", average_)
      .add("loss", mean_)
      .add("data", loader_)
      .add("epochs", epochs_);
}

void TrainingRun::take_step() {
  if (batch_) ++*batch_;
  while (!batch_ || *batch_ == std::default_sentinel) {
    if (batch_) ++epochs_;
    batch_ = loader_.begin();
  }
  const data::Batch& batch = **batch_;
  const Tensor loss = cross_entropy(net_(batch.x), batch.y);
  loss.backward();
  optimizer_->step();
  schedule_.step();
  average_.update();
  optimizer_->zero_grad();
  mean_.update(static_cast<double>(loss.item()));
}

void TrainingRun::train_to(std::int64_t step, bool save) {
  while (session_.step() < step) {
    take_step();
    if (save) checkpoints_->save();
  }
}

std::string TrainingRun::hash() {
  XXH64_hash_t hash = 0;
  const auto add = [&](const void* bytes, std::size_t count) { hash = XXH3_64bits_withSeed(bytes, count, hash); };
  const auto add_all = [&](const std::vector<Parameter>& tensors) {
    for (const Parameter& each : tensors) {
      const std::vector<float> elements = each.to_vector();
      add(elements.data(), elements.size() * sizeof(float));
    }
  };
  add_all(net_.parameters());
  add_all(net_.state());
  add_all(average_.state());
  const double mean = mean_.value();
  const float lr = optimizer_->lr();
  add(&mean, sizeof mean);
  add(&lr, sizeof lr);
  return std::to_string(session_.step()) + ":" + std::to_string(hash);
}

std::string read_bytes(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_bytes(const std::string& file, const std::string& bytes) { std::ofstream(file, std::ios::binary) << bytes; }

}  // namespace tidemark::io
