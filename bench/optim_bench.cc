// One optimizer step over arrays that no cache holds, and over ones that it does: 16-bit state against 32-bit.
// bytes_per_second counts what a step must move: parameter and state read and written, gradient read. SGD without
// momentum computes next to nothing: its rate at the larger size is the memory's, for this pattern of access.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>

#include "compute/philox.h"
#include "compute/threads.h"
#include "memory/arena.h"
#include "optim/kernels.h"

namespace tidemark::optim {
namespace {

// Where a session has them: in an arena, so on huge pages. Made once for each size, with room for any state.
class Arrays {
 public:
  explicit Arrays(std::int64_t n) : arena_(std::nullopt) {
    const std::int64_t state_bytes = state_bytes_of(n);
    for (const std::int64_t offset : {std::int64_t{0}, 4 * n}) arena_.place(offset, 4 * n, 0, Category::kParameters);
    arena_.place(8 * n, state_bytes, 0, Category::kOptimizer);
    p = reinterpret_cast<float*>(arena_.at(0));
    g = reinterpret_cast<float*>(arena_.at(4 * n));
    state = arena_.at(8 * n);
    compute::random_normal({1, 1}, 0, n, p);
    compute::random_normal({1, 2}, 0, n, g);
  }
  static const Arrays& of(std::int64_t n) {
    static std::map<std::int64_t, Arrays> made;
    const Arrays& arrays = made.try_emplace(n, n).first->second;
    std::memset(arrays.state, 0, static_cast<std::size_t>(state_bytes_of(n)));
    return arrays;
  }
  float* p;
  float* g;
  void* state;

 private:
  static std::int64_t state_bytes_of(std::int64_t n) { return state_bytes(Format::kF32, 2, n); }
  memory::Arena arena_;
};

void report(benchmark::State& run, std::int64_t n, std::int64_t state) {
  run.SetBytesProcessed(run.iterations() * (12 * n + 2 * state));
  run.counters["bytes/param"] = 8 + static_cast<double>(state) / static_cast<double>(n);
  run.counters["params/s"] = benchmark::Counter(static_cast<double>(n * run.iterations()), benchmark::Counter::kIsRate);
}

template <Format kFormat>
void adamw_step(benchmark::State& run) {
  const std::int64_t n = run.range(0);
  const int threads = static_cast<int>(run.range(1));
  const compute::ThreadBinding binding(threads);
  const std::int64_t bytes = state_bytes(kFormat, 2, n);
  const Arrays& arrays = Arrays::of(n);
  AdamWStep step{.lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.01f, .step = 0};
  for (auto _ : run) {
    ++step.step;
    adamw(step, n, arrays.p, arrays.g, {.format = kFormat, .bytes = arrays.state}, threads);
  }
  report(run, n, bytes);
}

template <Format kFormat, bool kMomentum>
void sgd_step(benchmark::State& run) {
  const std::int64_t n = run.range(0);
  const int threads = static_cast<int>(run.range(1));
  const compute::ThreadBinding binding(threads);
  const std::int64_t bytes = kMomentum ? state_bytes(kFormat, 1, n) : 0;
  const Arrays& arrays = Arrays::of(n);
  SgdStep step{.lr = 1e-3f, .momentum = kMomentum ? 0.9f : 0, .weight_decay = 1e-4f, .nesterov = kMomentum, .step = 0};
  for (auto _ : run) {
    ++step.step;
    sgd(step, n, arrays.p, arrays.g, {.format = kFormat, .bytes = kMomentum ? arrays.state : nullptr}, threads);
  }
  report(run, n, bytes);
}

// Of an optimizer with so many moments.
template <Format kFormat, int kMoments, class Step,
          bool (*kKernel)(const Step&, std::int64_t, float*, const float*, const State&, int)>
void other_step(benchmark::State& run, Step step) {
  const std::int64_t n = run.range(0);
  const int threads = static_cast<int>(run.range(1));
  const compute::ThreadBinding binding(threads);
  const Arrays& arrays = Arrays::of(n);
  step.step = 0;
  for (auto _ : run) {
    ++step.step;
    kKernel(step, n, arrays.p, arrays.g, {.format = kFormat, .bytes = arrays.state}, threads);
  }
  report(run, n, state_bytes(kFormat, kMoments, n));
}

template <Format kFormat>
void adam_step(benchmark::State& run) {
  other_step<kFormat, 2, AdamStep, adam>(run, {.lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f});
}
template <Format kFormat>
void adagrad_step(benchmark::State& run) {
  other_step<kFormat, 1, AdagradStep, adagrad>(run, {.lr = 1e-3f, .eps = 1e-10f});
}
template <Format kFormat>
void rmsprop_step(benchmark::State& run) {
  other_step<kFormat, 1, RmspropStep, rmsprop>(run, {.lr = 1e-3f, .alpha = 0.99f, .eps = 1e-8f});
}
template <Format kFormat>
void lion_step(benchmark::State& run) {
  other_step<kFormat, 1, LionStep, lion>(run, {.lr = 1e-4f, .beta1 = 0.9f, .beta2 = 0.99f});
}

void check_gradients(benchmark::State& run) {
  const std::int64_t n = run.range(0);
  const int threads = static_cast<int>(run.range(1));
  const compute::ThreadBinding binding(threads);
  const Arrays& arrays = Arrays::of(n);
  for ([[maybe_unused]] auto _ : run) benchmark::DoNotOptimize(all_below(arrays.g, n, kGradientLimit, threads));
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
BENCHMARK(sgd_step<Format::kF16, true>)->Name("sgd/f16")->Apply(sizes);
BENCHMARK(sgd_step<Format::kF32, true>)->Name("sgd/f32")->Apply(sizes);
BENCHMARK(sgd_step<Format::kF32, false>)->Name("sgd/none")->Apply(sizes);
BENCHMARK(adam_step<Format::kF16>)->Name("adam/f16")->Apply(sizes);
BENCHMARK(adam_step<Format::kF32>)->Name("adam/f32")->Apply(sizes);
BENCHMARK(adagrad_step<Format::kF16>)->Name("adagrad/f16")->Apply(sizes);
BENCHMARK(adagrad_step<Format::kF32>)->Name("adagrad/f32")->Apply(sizes);
BENCHMARK(rmsprop_step<Format::kF16>)->Name("rmsprop/f16")->Apply(sizes);
BENCHMARK(rmsprop_step<Format::kF32>)->Name("rmsprop/f32")->Apply(sizes);
BENCHMARK(lion_step<Format::kF16>)->Name("lion/f16")->Apply(sizes);
BENCHMARK(lion_step<Format::kF32>)->Name("lion/f32")->Apply(sizes);
BENCHMARK(check_gradients)->Name("check_gradients")->Apply(sizes);

}  // namespace
}  // namespace tidemark::optim

BENCHMARK_MAIN();
