#include <tidemark/tidemark.h>

#include <cstdio>

namespace td = tidemark;
using namespace td::literals;

int main() {
  td::Session session({.budget = 512_MiB, .threads = 2, .seed = 1});
  td::nn::Sequential net(td::nn::Conv2d({.in = 3, .out = 64, .kernel = 3, .padding = 1}), td::nn::ReLU(),
                         td::nn::MaxPool2d({.kernel = 2}), td::nn::Flatten(),
                         td::nn::Linear({.in = 64 * 16 * 16, .out = 10}));
  td::optim::AdamW optimizer(net.parameters(), {.lr = 3e-4f, .state = td::f16});
  for (const auto& [images, labels] : td::data::cifar10("data/cifar10", {.batch = 128, .shuffle = true})) {
    td::Tensor loss = td::cross_entropy(net(images), labels);
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
  }
  std::puts(session.report().summary().c_str());
}
