#include "tidemark/costs.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "compute/gemm.h"
#include "compute/threads.h"
#include "memory/arena.h"
#include "tidemark/error.h"

namespace tidemark {
namespace {

constexpr int kRounds = 7;

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double seconds_of(const std::function<void()>& work) {
  work();  // touches its memory
  std::vector<double> times;
  for (int round = 0; round < kRounds; ++round) {
    const auto began = std::chrono::steady_clock::now();
    work();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }
  return median(std::move(times));
}

}  // namespace

Costs Costs::calibrated(int threads) {
  if (threads < 0 || threads > 1024) {
    throw Error(absl::StrCat("[Costs::calibrated] threads must be 1 to 1024, or 0 for every CPU of this process; not ",
                             threads));
  }
  const compute::ThreadBinding binding(threads > 0 ? threads : compute::allowed_cpus());
  const int team = binding.threads();
  // Values of this size are what activations of models are: neither in the cache nor larger than it by far.
  constexpr std::int64_t kBytes = 16_MiB;
  constexpr std::int64_t kSide = 768;
  const compute::Gemm product = compute::Gemm::dense(kSide, kSide, kSide);
  const std::int64_t scratch = gemm_scratch(product, team);
  memory::Arena arena(2 * kBytes + memory::Extents::round_up(scratch));
  arena.place(0, 2 * kBytes + scratch, 0, Category::kScratch);
  auto* first = reinterpret_cast<float*>(arena.at(0));
  auto* second = first + kBytes / 4;
  std::fill_n(first, kBytes / 2, 0.5f);

  Costs costs;
  costs.seconds_per_flop = team / (2.0 * kSide * kSide * kSide) * seconds_of([&] {
                             compute::gemm(product, first, first, nullptr, second, false, second + kBytes / 4, team);
                           });
  costs.seconds_per_byte = 1 / (2.0 * kBytes) * seconds_of([&] {
                             compute::parallel_for(kBytes / 4, 1024, team, [&](std::int64_t from, std::int64_t to) {
                               std::memcpy(second + from, first + from, static_cast<std::size_t>(to - from) * 4);
                             });
                           });
  // A team that starts and ends, beside what the tape does for an op.
  constexpr double kTape = 1e-6;
  costs.seconds_per_call = kTape + seconds_of([&] {
                             compute::parallel_for(team, 1, team, [&](std::int64_t from, std::int64_t) {
                               first[from * 64] = second[from * 64];
                             });
                           });
  return costs;
}

Costs Costs::measured_in(std::span<const Timeline> timelines, const Costs& rates) {
  std::unordered_map<std::uint64_t, std::vector<double>> times;
  for (const Timeline& timeline : timelines) {
    for (const Timeline::Span& span : timeline.spans) {
      if (span.signature != 0) times[span.signature].push_back(span.end - span.begin);
    }
  }
  Costs costs = rates;
  for (auto& [signature, each] : times) costs.measured[signature] = median(std::move(each));
  return costs;
}

}  // namespace tidemark
