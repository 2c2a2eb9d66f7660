// Rows for every op at sizes that models have (op_rows.h), forward and each part of backward, and rows of the machine's
// own rates, against which they are read. bytes_per_second and flop/s count what the op itself declares as its work; a
// row's label says its attributes and operands, which op_peer.py repeats in PyTorch. Argument beside Google
// Benchmark's: --threads=N (2).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/machine_rows.h"
#include "bench/op_rows.h"
#include "compute/machine.h"
#include "compute/philox.h"
#include "compute/threads.h"
#include "memory/arena.h"
#include "ops/table.h"

namespace tidemark {
namespace {

// A value in an arena of its own, so on huge pages.
class Value {
 public:
  Value(const Meta& meta, std::uint64_t seed) : arena_(core::Extents::round_up(meta.bytes + 1)), meta_(meta) {
    arena_.place(0, meta.bytes + 1, 0, Category::kActivations);
    std::memset(arena_.at(0), 0, static_cast<std::size_t>(meta.bytes));
    if (meta.dtype == f32) compute::random_normal({seed, 1}, 0, meta.bytes / size_of(f32), data<float>());
  }
  template <class T>
  T* data() {
    return reinterpret_cast<T*>(arena_.at(0));
  }
  Buf buf() { return {arena_.at(0), &meta_}; }

 private:
  memory::Arena arena_;
  Meta meta_;
};

using Values = std::vector<std::unique_ptr<Value>>;

std::vector<Buf> bufs(const Values& values) {
  std::vector<Buf> out;
  for (const auto& value : values) out.push_back(value->buf());
  return out;
}

// One sample's values and what it prepares.
class Row {
 public:
  Row(Sample sample, int threads) : sample_(std::move(sample)), binding_(threads), machine_(binding_.threads()) {
    std::uint64_t needs = 0;
    for (std::size_t i = 0; i < sample_.inputs.size(); ++i) {
      const SampleInput& input = sample_.inputs[i];
      metas_.push_back(Meta::plain(input.shape, input.dtype));
      if (input.differentiable && input.dtype == f32) needs |= std::uint64_t{1} << i;
    }
    Prep prep(machine_, sample_.op->name(), {});
    prepared_ = sample_.op->prepare(prep, metas_, Needs(needs));
  }

  void forward(benchmark::State& run) {
    const Values in = inputs();
    const Values out = outputs();
    measure(run, prepared_.scratch, prepared_.work, [&](Ctx& ctx) { sample_.op->forward(ctx, bufs(in), bufs(out)); });
  }

  void backward(benchmark::State& run, int index) {
    const Part& part = prepared_.parts[static_cast<std::size_t>(index)];
    const Values in = inputs();
    const Values out = outputs();
    {
      Value scratch(Meta::plain({prepared_.scratch}, u8), 0);
      Ctx ctx(machine_, prepared_.state.get(), scratch.data<void>(), {}, false);
      sample_.op->forward(ctx, bufs(in), bufs(out));
    }
    Values saved;
    std::vector<Buf> saved_bufs;
    for (const Saved& item : part.saved) {
      const auto at = static_cast<std::size_t>(item.index);
      const bool input = item.of == Saved::Of::kInput;
      const Meta& meta = input ? metas_[at] : prepared_.outputs[at];
      if (!item.layout || *item.layout == meta.layout) {
        saved_bufs.push_back((input ? in : out)[at]->buf());
      } else {
        saved.push_back(value(in_layout(meta, *item.layout), index));
        saved_bufs.push_back(saved.back()->buf());
      }
    }
    Values gy;
    for (const GradOf& item : part.gy) {
      const Meta& meta = prepared_.outputs[static_cast<std::size_t>(item.output)];
      gy.push_back(value(item.layout ? in_layout(meta, *item.layout) : meta, 77));
    }
    Values gx;
    for (const Meta& meta : part.gx) gx.push_back(value(meta, 0));
    measure(run, part.scratch, part.work,
            [&](Ctx& ctx) { sample_.op->backward(ctx, index, saved_bufs, bufs(gy), bufs(gx)); });
  }

  // Views run no kernel.
  bool has_forward() const { return !prepared_.view_of; }
  bool has_backward(int part) const { return has_forward() && !prepared_.parts[static_cast<std::size_t>(part)].view; }
  int parts() const { return static_cast<int>(prepared_.parts.size()); }

 private:
  static std::unique_ptr<Value> value(const Meta& meta, int seed) {
    return std::make_unique<Value>(meta, static_cast<std::uint64_t>(seed));
  }

  Meta in_layout(const Meta& meta, Layout layout) {
    Meta out = Meta::plain(meta.shape, meta.dtype);
    if (layout.plain()) return out;
    out.layout = layout;
    out.bytes = static_cast<std::int64_t>(machine_.desc(out).get_size());
    return out;
  }

  // Kernels take any numbers in any layout, so inputs are drawn where the kernel wants them.
  Values inputs() {
    Values out;
    for (std::size_t i = 0; i < metas_.size(); ++i) {
      const bool asked = i < prepared_.input_layouts.size() && prepared_.input_layouts[i];
      out.push_back(value(asked ? in_layout(metas_[i], *prepared_.input_layouts[i]) : metas_[i], static_cast<int>(i)));
      const SampleInput& input = sample_.inputs[i];
      const std::int64_t count = metas_[i].shape.numel();
      const auto fill = [&]<class T>(T* to, auto value) {
        for (std::int64_t k = 0; k < count; ++k) to[k] = static_cast<T>(value(k));
      };
      Value& value = *out.back();
      const auto index = [&](std::int64_t k) { return k * 7919 % std::max<std::int64_t>(input.below, 1); };
      if (input.dtype == i32) {
        fill(value.data<std::int32_t>(), index);
      } else if (input.dtype == u8) {
        fill(value.data<std::uint8_t>(), index);
      } else if (input.fill == SampleInput::Fill::kIndices) {
        fill(value.data<float>(),
             [&](std::int64_t k) { return static_cast<float>(input.below) * static_cast<float>(k % 997 + 1) / 999; });
      } else if (input.fill == SampleInput::Fill::kPositive) {
        fill(value.data<float>(), [&](std::int64_t k) { return std::abs(value.data<float>()[k]) + 1; });
      }
    }
    return out;
  }

  Values outputs() {
    Values out;
    for (const Meta& meta : prepared_.outputs) out.push_back(value(meta, 0));
    return out;
  }

  template <class Kernel>
  void measure(benchmark::State& run, std::int64_t scratch_bytes, const Work& work, Kernel&& kernel) {
    Value scratch(Meta::plain({scratch_bytes}, u8), 0);
    Ctx ctx(machine_, prepared_.state.get(), scratch.data<void>(), {1, 1, 1}, false);
    for ([[maybe_unused]] auto _ : run) kernel(ctx);
    const auto runs = static_cast<double>(run.iterations());
    run.SetBytesProcessed(static_cast<std::int64_t>(work.bytes * runs));
    run.counters["flop/s"] = benchmark::Counter(work.flops * runs, benchmark::Counter::kIsRate);
  }

  Sample sample_;
  compute::ThreadBinding binding_;
  compute::Machine machine_;
  std::vector<Meta> metas_;
  Prepared prepared_;
};

// "attributes|f32 4096 1024|i32 4096 below 1000": what PyTorch is asked to do.
std::string text_of(const Sample& sample) {
  Attributes attributes;
  sample.op->describe(attributes);
  std::string text = attributes.text();
  for (const SampleInput& input : sample.inputs) {
    text.append("|").append(to_string(input.dtype));
    for (const std::int64_t size : input.shape.dims()) text.append(" ").append(std::to_string(size));
    if (input.fill == SampleInput::Fill::kIndices) text.append(" below ").append(std::to_string(input.below));
    if (input.fill == SampleInput::Fill::kPositive) text.append(" positive");
    if (!input.differentiable || input.dtype != f32) text.append(" fixed");
  }
  return text;
}

void add_rows(const std::string& op, const Sample& sample, int threads) {
  const auto add = [&](const std::string& what, auto use) {
    const auto run = [=](benchmark::State& state) {
      Row row(sample, threads);
      use(row, state);
      state.SetLabel(text_of(sample));
    };
    benchmark::RegisterBenchmark((op + "/" + sample.label + "/" + what).c_str(), run)->UseRealTime();
  };
  const Row row(sample, threads);
  if (row.has_forward()) add("forward", [](Row& r, benchmark::State& state) { r.forward(state); });
  for (int i = 0; i < row.parts(); ++i) {
    if (!row.has_backward(i)) continue;
    add("backward" + std::to_string(i), [i](Row& r, benchmark::State& state) { r.backward(state, i); });
  }
}

}  // namespace

void add_all_rows(int threads) {
  add_machine_rows(threads);
  for (const ops::OpEntry& entry : ops::op_table()) {
    for (const Sample& sample : rows_of(entry)) add_rows(std::string(entry.name), sample, threads);
  }
}

}  // namespace tidemark

int main(int argc, char** argv) {
  int threads = 2;
  const auto rest = std::remove_if(argv + 1, argv + argc, [&](const char* argument) {
    const std::string_view word = argument;
    const std::string_view name = "--threads=";
    if (!word.starts_with(name)) return false;
    std::from_chars(word.data() + name.size(), word.data() + word.size(), threads);
    return true;
  });
  argc = static_cast<int>(rest - argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  tidemark::add_all_rows(threads);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
