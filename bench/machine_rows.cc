#include "bench/machine_rows.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <functional>

#include "compute/machine.h"
#include "compute/threads.h"
#include "memory/arena.h"
#include "tidemark/op.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/machine_rows.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void copy(const float* HWY_RESTRICT from, float* HWY_RESTRICT to, std::int64_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i + lanes <= count; i += lanes) hn::Store(hn::Load(d, from + i), d, to + i);
}

void triad(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, float* HWY_RESTRICT to, std::int64_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto factor = hn::Set(d, 0.5f);
  for (std::int64_t i = 0; i + lanes <= count; i += lanes) {
    hn::Store(hn::MulAdd(hn::Load(d, b + i), factor, hn::Load(d, a + i)), d, to + i);
  }
}

// Chains of multiplications and additions that do not wait for each other; the operations done.
double multiply_add(std::int64_t rounds, float* result) {
  const hn::ScalableTag<float> d;
  const auto x = hn::Set(d, 0.999f);
  auto s0 = hn::Set(d, 1.0f), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0, s9 = s0;
  for (std::int64_t i = 0; i < rounds; ++i) {
    s0 = hn::MulAdd(s0, x, x), s1 = hn::MulAdd(s1, x, x), s2 = hn::MulAdd(s2, x, x), s3 = hn::MulAdd(s3, x, x);
    s4 = hn::MulAdd(s4, x, x), s5 = hn::MulAdd(s5, x, x), s6 = hn::MulAdd(s6, x, x), s7 = hn::MulAdd(s7, x, x);
    s8 = hn::MulAdd(s8, x, x), s9 = hn::MulAdd(s9, x, x);
  }
  const auto sum = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(hn::Add(s4, s5), hn::Add(s6, s7)));
  *result = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum, hn::Add(s8, s9))));
  return 20.0 * static_cast<double>(rounds) * static_cast<double>(hn::Lanes(d));
}

}  // namespace tidemark::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace {

HWY_EXPORT(copy);
HWY_EXPORT(triad);
HWY_EXPORT(multiply_add);

constexpr std::int64_t kCount = std::int64_t{4} << 20;
constexpr std::int64_t kBytes = kCount * 4;

// Three values in one arena, as a session has them.
class Values {
 public:
  Values() : arena_(3 * kBytes) {
    arena_.place(0, 3 * kBytes, 0, Category::kActivations);
    std::fill_n(at(0), 3 * kCount, 1.0f);
  }
  float* at(int i) const { return reinterpret_cast<float*>(arena_.at(i * kBytes)); }

 private:
  memory::Arena arena_;
};

using Part = std::function<void(const Values&, std::int64_t first, std::int64_t last)>;

void stream(benchmark::State& run, int threads, std::int64_t bytes, const Part& part) {
  const compute::ThreadBinding binding(threads);
  compute::Machine machine(binding.threads());
  const Ctx ctx(machine, nullptr, nullptr, {}, false);
  const Values values;
  for ([[maybe_unused]] auto _ : run) {
    ctx.parallel_for(kCount, 1024, [&](std::int64_t first, std::int64_t last) { part(values, first, last); });
  }
  run.SetBytesProcessed(bytes * static_cast<std::int64_t>(run.iterations()));
}

void peak(benchmark::State& run, int threads) {
  const compute::ThreadBinding binding(threads);
  compute::Machine machine(binding.threads());
  const Ctx ctx(machine, nullptr, nullptr, {}, false);
  constexpr std::int64_t kRounds = 1000000;
  double flops = 0;
  for ([[maybe_unused]] auto _ : run) {
    ctx.parallel_for(machine.threads(), 1, [&](std::int64_t first, std::int64_t) {
      float result = 0;
      const double done = HWY_DYNAMIC_DISPATCH(multiply_add)(kRounds, &result);
      benchmark::DoNotOptimize(result);
      if (first == 0) flops += done * machine.threads();
    });
  }
  run.counters["flop/s"] = benchmark::Counter(flops, benchmark::Counter::kIsRate);
}

}  // namespace

void add_machine_rows(int threads) {
  const auto add = [&](const char* name, auto run) {
    benchmark::RegisterBenchmark(name, [=](benchmark::State& state) { run(state, threads); })->UseRealTime();
  };
  add("machine/copy", [](benchmark::State& run, int count) {
    stream(run, count, 2 * kBytes, [](const Values& v, std::int64_t first, std::int64_t last) {
      HWY_DYNAMIC_DISPATCH(copy)(v.at(0) + first, v.at(1) + first, last - first);
    });
  });
  add("machine/triad", [](benchmark::State& run, int count) {
    stream(run, count, 3 * kBytes, [](const Values& v, std::int64_t first, std::int64_t last) {
      HWY_DYNAMIC_DISPATCH(triad)(v.at(0) + first, v.at(1) + first, v.at(2) + first, last - first);
    });
  });
  add("machine/peak", [](benchmark::State& run, int count) { peak(run, count); });
}

}  // namespace tidemark
#endif
