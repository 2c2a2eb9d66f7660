// gpt of 12 layers of 768 whose weights take 45 % of their bytes in memory, beside all of them there: evaluated, and
// tuned by two linear layers on its output. Bits are compared; a row each.
//   lazy_bench [FOLDER [PERCENT [cold]]]     where the weights are written for the time of the run [/tmp], the budget
//                                            [45], and whether the system forgets the file before each step
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/tidemark.h"

namespace td = tidemark;

namespace {

constexpr td::nn::GptOptions kGpt = {
    .layers = 12, .width = 768, .heads = 12, .context = 64, .vocabulary = 50257, .dropout = 0};
constexpr int kSteps = 8;  // the last four are measured

struct Outcome {
  std::vector<float> losses;
  double seconds = 0;
  td::Report report;
};

struct Model {
  Model(const std::string& file, bool lazy) {
    std::optional<td::DeferredInit> deferred(std::in_place);
    net.emplace(kGpt);
    deferred.reset();
    td::freeze(net->parameters(), "*");
    td::load(*net, file, {.lazy = lazy});
    net->eval();
  }
  std::optional<td::nn::Gpt> net;
};

td::Tensor tokens(int step, int shift) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(kGpt.context));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] =
        static_cast<std::int32_t>((i + static_cast<std::size_t>(shift)) * 7919 + static_cast<std::size_t>(step) * 31) %
        50257;
  }
  return td::tensor(ids, {1, kGpt.context});
}

// The file to forget before each step; empty: none.
std::string cold_file;

void forget_file() {
  const int file = ::open(cold_file.c_str(), O_RDONLY);
  if (file < 0) return;
  (void)::fdatasync(file);  // what is not written yet stays
  (void)::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  (void)::close(file);
}

template <class Step>
Outcome measure(Step&& step, td::Session& session) {
  Outcome outcome;
  std::vector<double> seconds;
  for (int i = 0; i < kSteps; ++i) {
    if (!cold_file.empty()) forget_file();
    const auto began = std::chrono::steady_clock::now();
    outcome.losses.push_back(step(i));
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }
  std::sort(seconds.end() - 4, seconds.end());
  outcome.seconds = (seconds[kSteps - 3] + seconds[kSteps - 2]) / 2;
  outcome.report = session.report();
  return outcome;
}

Outcome evaluate(const std::string& file, bool lazy, std::optional<std::int64_t> budget) {
  td::Session session({.budget = budget});
  Model model(file, lazy);
  return measure(
      [&](int i) {
        const td::NoGrad no_grad;
        return model.net->loss(tokens(i, 0), tokens(i, 1)).item();
      },
      session);
}

// Of the model's logits, [1, T, 50257]: two linear layers that start as nothing much, and the loss.
Outcome tune(const std::string& file, bool lazy, std::optional<std::int64_t> budget) {
  td::Session session({.budget = budget, .seed = 3});
  Model model(file, lazy);
  td::nn::Linear down({.in = kGpt.vocabulary, .out = 4});
  td::nn::Linear up({.in = 4, .out = kGpt.vocabulary});
  std::vector<td::Parameter> parameters = down.parameters();
  for (const td::Parameter& p : up.parameters()) parameters.push_back(p);
  td::optim::AdamW optimizer(parameters);
  return measure(
      [&](int i) {
        const td::Tensor logits = (*model.net)(tokens(i, 0));
        const td::Tensor loss = td::cross_entropy(logits + up(down(logits)), tokens(i, 1));
        loss.backward();
        optimizer.step();
        optimizer.zero_grad();
        return loss.item();
      },
      session);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : "/tmp";
  const int percent = argc > 2 ? std::atoi(argv[2]) : 45;
  const std::string file = folder + "/tidemark-lazy-bench-" + std::to_string(::getpid()) + ".safetensors";
  if (argc > 3 && std::string_view(argv[3]) == "cold") cold_file = file;
  std::int64_t weights = 0;
  {
    td::Session session({.seed = 1});
    td::nn::Gpt net(kGpt);
    td::save(net, file);
    for (const td::Parameter& p : net.parameters()) weights += 4 * p.numel();
  }
  const std::int64_t budget = weights * percent / 100;
  std::printf("weights %s, budget %s\n%-10s %10s %10s %9s %10s %8s  %s\n", td::format_bytes(weights).c_str(),
              td::format_bytes(budget).c_str(), "", "resident s", "lazy s", "ratio", "peak MiB", "RSS MiB",
              "bits equal");
  // The lazy run first: the highest RSS is of the whole process.
  const auto row = [&](const char* name, auto&& run) {
    const Outcome lazy = run(file, true, budget);
    const Outcome resident = run(file, false, std::nullopt);
    std::printf("%-10s %10.4f %10.4f %9.2f %10.1f %8.1f  %s\n", name, resident.seconds, lazy.seconds,
                lazy.seconds / resident.seconds, static_cast<double>(lazy.report.peak_bytes) / 1048576,
                static_cast<double>(lazy.report.rss_bytes) / 1048576, lazy.losses == resident.losses ? "yes" : "NO");
  };
  row("evaluate", evaluate);
  row("tune", tune);
  ::unlink(file.c_str());
}
