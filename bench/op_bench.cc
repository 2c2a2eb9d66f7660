// The op table's rows: forward and each part of backward of every sample. bytes_per_second and flop/s count what the op
// itself declares as its work. Arguments beside Google Benchmark's: --threads=N (2), and --elements=N of a row's
// largest input (4194304, which second-level caches do not hold).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "compute/machine.h"
#include "compute/philox.h"
#include "compute/threads.h"
#include "memory/arena.h"
#include "ops/table.h"

namespace tidemark {
namespace {

struct Options {
  int threads = 2;
  std::int64_t elements = std::int64_t{4} << 20;
};

// Samples are small, and some have inner dimensions that no model would have. These ops have rows of their own.
struct Usual {
  std::string_view op;
  std::string_view sample;  // whose attributes are taken
  std::vector<Shape> shapes;
};

const std::vector<Usual>& usual() {
  static const std::vector<Usual> rows = {
      {"conv2d", "3x3", {{16, 64, 56, 56}, {64, 64, 3, 3}, {64}}},
      {"conv2d", "1x1", {{16, 256, 28, 28}, {256, 256, 1, 1}, {256}}},
      {"batch_norm", "image", {{16, 64, 56, 56}, {64}, {64}}},
      {"linear", "batch", {{1024, 1024}, {1024, 1024}, {1024}}},
      {"matmul", "square", {{1024, 1024}, {1024, 1024}}},
      {"causal_self_attention", "two_heads", {{8, 256, 384}}},
      {"softmax", "rows", {{4096, 1024}}},
      {"layer_norm", "rows", {{4096, 1024}, {1024}, {1024}}},
      {"cross_entropy", "batch", {{4096, 1000}, {4096}}},
      {"embedding", "repeated", {{4096}, {10000, 512}}},
  };
  return rows;
}

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
      if (input.dtype == i32) {
        for (std::int64_t k = 0; k < count; ++k) {
          out.back()->data<std::int32_t>()[k] = static_cast<std::int32_t>(k * 7919 % input.below);
        }
      } else if (input.fill == SampleInput::Fill::kIndices) {
        for (std::int64_t k = 0; k < count; ++k) {
          out.back()->data<float>()[k] = static_cast<float>(input.below) * static_cast<float>(k % 997 + 1) / 999;
        }
      } else if (input.fill == SampleInput::Fill::kPositive) {
        for (std::int64_t k = 0; k < count; ++k) {
          out.back()->data<float>()[k] = std::abs(out.back()->data<float>()[k]) + 1;
        }
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

// The sample with a batch so large that its largest input has so many elements: what has the first input's first
// dimension grows in it.
Sample grown(Sample sample, std::int64_t elements) {
  if (sample.inputs.empty() || sample.inputs[0].shape.rank() == 0) return sample;
  const std::int64_t batch = sample.inputs[0].shape[0];
  std::int64_t largest = 1;
  for (const SampleInput& input : sample.inputs) {
    if (input.shape.rank() > 0 && input.shape[0] == batch) largest = std::max(largest, input.shape.numel());
  }
  const std::int64_t factor = std::max<std::int64_t>(1, elements / largest);
  for (SampleInput& input : sample.inputs) {
    if (input.shape.rank() > 0 && input.shape[0] == batch) input.shape = input.shape.with(0, batch * factor);
  }
  return sample;
}

void add_rows(const std::string& op, const Sample& sample, int threads) {
  const auto add = [&](const std::string& what, auto use) {
    const auto run = [=](benchmark::State& state) {
      Row row(sample, threads);
      use(row, state);
    };
    benchmark::RegisterBenchmark((op + "/" + sample.label + "/" + what).c_str(), run)->UseRealTime();
  };
  try {
    const Row row(sample, threads);
    if (row.has_forward()) add("forward", [](Row& r, benchmark::State& state) { r.forward(state); });
    for (int i = 0; i < row.parts(); ++i) {
      if (!row.has_backward(i)) continue;
      add("backward" + std::to_string(i), [i](Row& r, benchmark::State& state) { r.backward(state, i); });
    }
  } catch (const ShapeError&) {
    // Attributes that fit the small shapes alone: reshape's.
  }
}

}  // namespace

void add_all_rows(const Options& options) {
  for (const ops::OpEntry& entry : ops::op_table()) {
    const std::string op(entry.name);
    std::vector<Sample> samples = entry.samples();
    bool own = false;
    for (const Usual& row : usual()) {
      if (row.op != op) continue;
      Sample sample = *std::ranges::find(samples, row.sample, &Sample::label);
      for (std::size_t i = 0; i < row.shapes.size(); ++i) sample.inputs.at(i).shape = row.shapes[i];
      add_rows(op, sample, options.threads);
      own = true;
    }
    if (own) continue;
    for (const Sample& sample : samples) add_rows(op, grown(sample, options.elements), options.threads);
  }
}

}  // namespace tidemark

int main(int argc, char** argv) {
  tidemark::Options options;
  const auto take = [](std::string_view word, std::string_view name, auto& value) {
    if (!word.starts_with(name)) return false;
    std::from_chars(word.data() + name.size(), word.data() + word.size(), value);
    return true;
  };
  const auto rest = std::remove_if(argv + 1, argv + argc, [&](const char* word) {
    return take(word, "--threads=", options.threads) || take(word, "--elements=", options.elements);
  });
  argc = static_cast<int>(rest - argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  tidemark::add_all_rows(options);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
