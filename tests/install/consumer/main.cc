// A program of another project, which found Tidemark installed: a net with an op of the program's own is trained
// without a budget and in the smallest one, with the same bits, and an impossible budget is refused.
#include <tidemark/tidemark.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace td = tidemark;

namespace {

void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

td::Tensor softsign(const td::Tensor& x) {
  return td::map(
      x, [](float v) { return v / (1 + std::fabs(v)); },
      [](float v) { return 1 / ((1 + std::fabs(v)) * (1 + std::fabs(v))); });
}

// The losses of some steps, and the parameters after them.
std::vector<float> train() {
  td::nn::Sequential net(td::nn::Linear({.in = 64, .out = 256}), td::nn::ReLU(),
                         td::nn::Linear({.in = 256, .out = 256}), softsign, td::nn::Linear({.in = 256, .out = 10}));
  td::optim::AdamW optimizer(net.parameters(), {.lr = 1e-3f});
  std::vector<float> values;
  for (int step = 0; step < 3; ++step) {
    const td::Tensor x = td::normal({256, 64}, 0, 1);
    const td::Tensor loss = td::cross_entropy(net(x), td::tensor(std::vector<std::int32_t>(256, 3), {256}));
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    values.push_back(loss.item());
  }
  for (const td::Parameter& parameter : net.parameters()) {
    const std::vector<float> elements = parameter.to_vector();
    values.insert(values.end(), elements.begin(), elements.end());
  }
  return values;
}

std::pair<std::vector<float>, std::int64_t> train_within(std::optional<std::int64_t> budget) {
  td::Session session({.budget = budget, .threads = 1, .seed = 1});
  std::vector<float> values = train();
  return {std::move(values), session.report().peak_bytes};
}

void run() {
  require(std::string(td::version()) == TIDEMARK_VERSION, "the library has another version than its headers");
  const auto [unlimited, peak] = train_within({});
  require(std::isfinite(unlimited[0]) && unlimited[2] < unlimited[0], "the loss does not fall");

  const std::int64_t budget = td::smallest_budget({.threads = 1, .seed = 1}, [] { train(); });
  require(budget < peak, "the budget saves nothing");
  const auto [limited, limited_peak] = train_within(budget);
  require(limited_peak <= budget, "the budget was not kept");
  require(limited.size() == unlimited.size() &&
              std::memcmp(limited.data(), unlimited.data(), limited.size() * sizeof(float)) == 0,
          "the budget changed the numbers");

  bool refused = false;
  try {
    train_within(4096);
  } catch (const td::BudgetError& error) {
    refused = error.needed_bytes() > 4096;
  }
  require(refused, "an impossible budget was not refused");
  std::printf("Tidemark %s: loss %.4f, then %.4f; %lld bytes without a budget, %lld within one\n", td::version(),
              unlimited[0], unlimited[2], static_cast<long long>(peak), static_cast<long long>(limited_peak));
}

}  // namespace

int main() {
  try {
    run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "consumer: %s\n", error.what());
    return 1;
  }
  return 0;
}
