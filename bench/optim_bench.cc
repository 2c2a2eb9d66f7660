// One optimizer step over arrays that no cache holds, and over ones that it does: 16-bit state against 32-bit.
// bytes_per_second counts what a step must move: parameter and state read and written, gradient read.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "compute/philox.h"
#include "compute/threads.h"
#include "optim/kernels.h"

namespace tidemark::optim {
namespace {

struct Arrays {
  Arrays(std::int64_t n, std::int64_t bytes)
      : p(static_cast<std::size_t>(n)), g(static_cast<std::size_t>(n)), state(static_cast<std::size_t>(bytes)) {
    compute::random_normal({1, 1}, 0, n, p.data());
    compute::random_normal({1, 2}, 0, n, g.data());
  }
  std::vector<float> p, g;
  std::vector<std::byte> state;
};

void report(benchmark::State& run, std::int64_t n, std::int64_t state) {
  run.SetBytesProcessed(run.iterations() * (12 * n + 2 * state));
  run.counters["bytes/param"] = 8 + static_cast<double>(state) / static_cast<double>(n);
  run.counters["params/s"] =
      benchmark::Counter(static_cast<double>(n * run.iterations()), benchmark::Counter::kIsRate);
}

template <Format kFormat>
void adamw_step(benchmark::State& run) {
  const std::int64_t n = run.range(0);
  const int threads = static_cast<int>(run.range(1));
  const compute::ThreadBinding binding(threads);
  const std::int64_t bytes = state_bytes(kFormat, 2, n);
  Arrays arrays(n, bytes);
  AdamWStep step{.lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.01f, .step = 0};
  for (auto _ : run) {
    ++step.step;
    adamw(step, n, arrays.p.data(), arrays.g.data(), {.format = kFormat, .bytes = arrays.state.data()}, threads);
  }
  report(run, n, bytes);
}

template <Format kFormat>
void sgd_step(benchmark::State& run) {
  const std::int64_t n = run.range(0);
  const int threads = static_cast<int>(run.range(1));
  const compute::ThreadBinding binding(threads);
  const std::int64_t bytes = state_bytes(kFormat, 1, n);
  Arrays arrays(n, bytes);
  SgdStep step{.lr = 1e-3f, .momentum = 0.9f, .weight_decay = 1e-4f, .nesterov = true, .step = 0};
  for (auto _ : run) {
    ++step.step;
    sgd(step, n, arrays.p.data(), arrays.g.data(), {.format = kFormat, .bytes = arrays.state.data()}, threads);
  }
  report(run, n, bytes);
}

void check_gradients(benchmark::State& run) {
  const std::int64_t n = run.range(0);
  const int threads = static_cast<int>(run.range(1));
  const compute::ThreadBinding binding(threads);
  const Arrays arrays(n, 0);
  for (auto _ : run) benchmark::DoNotOptimize(all_below(arrays.g.data(), n, kGradientLimit, threads));
  run.SetBytesProcessed(run.iterations() * 4 * n);
}

// 32 Mi parameters: 384 MiB and more; 32 Ki: the second-level caches.
void sizes(benchmark::internal::Benchmark* rows) {
  for (const std::int64_t n : {std::int64_t{1} << 25, std::int64_t{1} << 15}) {
    for (const int threads : {1, 2}) rows->Args({n, threads});
  }
  rows->ArgNames({"n", "threads"})->UseRealTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK(adamw_step<Format::kF16>)->Name("adamw/f16")->Apply(sizes);
BENCHMARK(adamw_step<Format::kF32>)->Name("adamw/f32")->Apply(sizes);
BENCHMARK(sgd_step<Format::kF16>)->Name("sgd/f16")->Apply(sizes);
BENCHMARK(sgd_step<Format::kF32>)->Name("sgd/f32")->Apply(sizes);
BENCHMARK(check_gradients)->Name("check_gradients")->Apply(sizes);

}  // namespace
}  // namespace tidemark::optim

BENCHMARK_MAIN();
