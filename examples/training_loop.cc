// What stands round a training loop: a part held back for validation, metrics, a progress bar and a log.
//
//   training_loop [EPOCHS [LOG]]
#include <tidemark/tidemark.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

namespace td = tidemark;
using namespace td::literals;

namespace {

void run(int epochs, const std::string& file) {
  td::Session session({.budget = 24_MiB, .seed = 1});
  // Pictures as large as MNIST's; td::data::mnist_source("data/mnist") reads the real ones.
  const auto [train, held_back] =
      td::data::split(td::data::synthetic_images({.count = 2000, .channels = 1, .image = 28}), 0.9, /*seed=*/1);
  td::data::Loader batches(train, {.batch = 64, .shuffle = true});
  td::data::Loader validation(held_back, {.batch = 64});

  td::nn::Sequential net(td::nn::Flatten(), td::nn::Linear({.in = 28 * 28, .out = 128}), td::nn::ReLU(),
                         td::nn::Linear({.in = 128, .out = 10}));
  td::optim::AdamW optimizer(net.parameters(), {.lr = 1e-3f});

  td::JsonLog log(file);
  td::metrics::ConfusionMatrix matrix({.classes = 10});
  {
    td::Progress progress(epochs * batches.batches(), {.session = &session});
    for (int epoch = 1; epoch <= epochs; ++epoch) {
      td::metrics::RunningMean mean_loss;
      td::metrics::Accuracy accuracy;
      for (const auto& [images, labels] : batches) {
        const td::Tensor logits = net(images);
        const td::Tensor loss = td::cross_entropy(logits, labels);
        loss.backward();
        optimizer.step();
        optimizer.zero_grad();
        mean_loss.update(loss.item(), labels.numel());
        accuracy.update(logits, labels);
        progress.update(session.step(), {{"loss", mean_loss.value()}, {"accuracy", accuracy.value()}});
      }
      matrix.reset();
      {
        const td::NoGrad no_grad;
        net.eval();
        for (const auto& [images, labels] : validation) matrix.update(net(images), labels);
        net.train();
      }
      log.write({{"epoch", epoch},
                 {"loss", mean_loss.value()},
                 {"accuracy", accuracy.value()},
                 {"validation_accuracy", matrix.value()}});
    }
  }
  log.finish();
  std::printf("validation:\n%s%s\n", matrix.table().c_str(), session.report().summary().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc > 1 ? std::atoi(argv[1]) : 5, argc > 2 ? argv[2] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
