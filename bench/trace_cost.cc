// What it takes to write a timeline: the same step of gpt 12 x 768 (batch 4, 256 tokens) in a dry run, which is
// planning and bookkeeping without kernels, with a timeline and without one, in turns.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "tidemark/tidemark.h"

namespace td = tidemark;

int main() {
  constexpr int kPairs = 40;
  td::Session session({.dry_run = true});
  td::nn::Gpt net({.layers = 12, .width = 768, .heads = 12, .context = 256, .vocabulary = 50257});
  td::optim::AdamW optimizer(net.parameters(), {.lr = 3e-4f});
  const std::vector<std::int32_t> ids(1024, 3);
  const td::Tensor tokens = td::tensor(ids, {4, 256});
  const auto step = [&] {
    net.loss(tokens, tokens).backward();
    optimizer.step();
    optimizer.zero_grad();
  };
  for (int i = 0; i < 5; ++i) step();
  std::vector<double> plain;
  std::vector<double> extra;
  std::size_t spans = 0;
  std::size_t changes = 0;
  const auto seconds = [](auto&& work) {
    const auto began = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  };
  for (int i = 0; i < kPairs; ++i) {
    plain.push_back(seconds(step));
    const double traced = seconds([&] {
      session.start_timeline();
      step();
      const td::Timeline timeline = session.stop_timeline();
      spans = timeline.spans.size();
      changes = timeline.changes.size();
    });
    extra.push_back(traced - plain.back());
  }
  std::sort(plain.begin(), plain.end());
  std::sort(extra.begin(), extra.end());
  std::printf("a step without kernels takes %.2f ms; its timeline, %zu spans and %zu changes of bytes, %.2f ms more\n",
              1e3 * plain[kPairs / 2], spans, changes, 1e3 * extra[kPairs / 2]);
}
