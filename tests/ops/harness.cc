#include "tests/ops/harness.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>

#include "compute/malloc_hook.h"

namespace tidemark::testing {
namespace {

constexpr std::size_t kGuard = 4096;
constexpr std::byte kGuardByte{0xA5};

// Bytes between two guard zones.
class Guarded {
 public:
  Guarded(std::int64_t bytes, int offset, std::uint8_t dirt)
      : size_(static_cast<std::size_t>(bytes)), storage_(size_ + 3 * kGuard + 64 * 64, kGuardByte) {
    const auto base = reinterpret_cast<std::uintptr_t>(storage_.data()) + kGuard;
    begin_ = (base + kGuard - 1) / kGuard * kGuard + 64 * static_cast<std::size_t>(offset) -
             reinterpret_cast<std::uintptr_t>(storage_.data());
    std::memset(data(), dirt, size_);
  }
  std::byte* data() { return storage_.data() + begin_; }
  Bytes copy() const {
    return Bytes(storage_.begin() + static_cast<std::ptrdiff_t>(begin_),
                 storage_.begin() + static_cast<std::ptrdiff_t>(begin_ + size_));
  }
  void fill(std::byte value) { std::memset(data(), static_cast<int>(value), size_); }
  bool whole() const {
    const auto intact = [](std::byte b) { return b == kGuardByte; };
    return std::all_of(storage_.begin(), storage_.begin() + static_cast<std::ptrdiff_t>(begin_), intact) &&
           std::all_of(storage_.begin() + static_cast<std::ptrdiff_t>(begin_ + size_), storage_.end(), intact);
  }

 private:
  std::size_t size_;
  std::size_t begin_ = 0;
  Bytes storage_;
};

// A value: its bytes may be shared with another's, as views and overwrites do.
struct Value {
  Meta meta;
  std::shared_ptr<Guarded> store;
  std::int64_t offset = 0;

  Buf buf(bool valid = false) const { return {store->data() + offset, &meta, valid}; }
};

void require(bool holds, const std::string& message) {
  if (!holds) throw std::logic_error(message);
}

std::vector<Buf> bufs(const std::vector<Value>& values) {
  std::vector<Buf> out;
  for (const Value& value : values) out.push_back(value.buf());
  return out;
}

}  // namespace

Array Array::of(const Shape& shape, DType dtype) {
  const Meta meta = Meta::plain(shape, dtype);
  return {meta, Bytes(static_cast<std::size_t>(meta.bytes))};
}

class Harness::Run {
 public:
  Run(Harness& harness, const AnyOp& op, Needs needs, const Trial& trial)
      : harness_(harness), machine_(harness.machine_), op_(op), needs_(needs), trial_(trial) {}

  Outcome operator()(std::span<const Array> inputs, std::span<const Array> gy) {
    std::vector<Meta> metas;
    for (const Array& input : inputs) {
      given_.push_back(input.meta.shape == inputs[0].meta.shape ? as_images(input) : bring(input));
      metas.push_back(given_.back().meta);
    }
    prepared_ = harness_.prepare(op_, metas, needs_);
    forward();
    const int visible = prepared_.visible < 0 ? static_cast<int>(prepared_.outputs.size()) : prepared_.visible;
    for (const Value& output : outputs_) outcome_.outputs.push_back(bytes_of(output));
    for (const Value& value : updated_) outcome_.outputs.push_back(bytes_of(value));
    if (!outputs_.empty()) outcome_.first = to_array(outputs_.front());
    outcome_.gradients.resize(inputs.size());
    if (!gy.empty()) {
      require(gy.size() == static_cast<std::size_t>(visible), "one gradient for each visible output");
      for (std::size_t i = 0; i < prepared_.parts.size(); ++i) backward(static_cast<int>(i), gy);
    }
    for (const auto& store : stores_) outcome_.guards_whole = outcome_.guards_whole && store->whole();
    return std::move(outcome_);
  }

 private:
  Value make(const Meta& meta, std::uint8_t dirt) {
    stores_.push_back(std::make_shared<Guarded>(meta.bytes, trial_.offset, dirt));
    return {meta, stores_.back(), 0};
  }

  Value bring(const Array& array) {
    Value out = make(array.meta, 0);
    if (!array.bytes.empty()) std::memcpy(out.store->data(), array.bytes.data(), array.bytes.size());
    return out;
  }

  Value as_images(const Array& array) {
    Value plain = bring(array);
    const bool image = array.meta.dtype == f32 && array.meta.shape.rank() == 4;
    if (!image || trial_.images == dnnl::memory::format_tag::nchw) return plain;
    const auto dims = array.meta.shape.dims();
    const dnnl::memory::desc desc({dims.begin(), dims.end()}, dnnl::memory::data_type::f32, trial_.images);
    return reordered(plain, machine_.meta(array.meta.shape, desc));
  }

  // A copy in another layout; a copy also where the layout is the same, so that overwrites hit nobody else.
  Value reordered(const Value& from, const Meta& to) {
    Value out = make(to, trial_.dirt);
    const auto kernel = machine_.reorder(from.meta, to);
    Value scratch = make(Meta::plain({kernel->scratch}, u8), trial_.dirt);
    machine_.run_reorder(*kernel, from.meta, from.buf().data, to, out.buf().data, scratch.buf().data);
    return out;
  }

  Value reordered(const Value& from, std::optional<Layout> layout) {
    if (!layout || *layout == from.meta.layout) return reordered(from, from.meta);
    Meta to = Meta::plain(from.meta.shape, from.meta.dtype);
    if (!layout->plain()) {
      to.layout = *layout;
      to.bytes = static_cast<std::int64_t>(machine_.desc(to).get_size());
    }
    return reordered(from, to);
  }

  Bytes bytes_of(const Value& value) {
    const Buf buf = value.buf();
    const auto* begin = static_cast<const std::byte*>(buf.data);
    return Bytes(begin, begin + value.meta.bytes);
  }

  Array to_array(const Value& value) {
    return {Meta::plain(value.meta.shape, value.meta.dtype), bytes_of(reordered(value, Layout{}))};
  }

  // Runs a kernel under the heap's eye.
  template <class F>
  void kernel(std::int64_t scratch_bytes, bool accumulate, F&& f) {
    Value scratch = make(Meta::plain({scratch_bytes}, u8), trial_.dirt);
    Ctx ctx(machine_, prepared_.state.get(), scratch.store->data(), trial_.key, accumulate);
    const compute::MallocWatch watch;
    f(ctx);
    outcome_.heap_over = std::max(outcome_.heap_over, watch.peak_bytes() - scratch_bytes);
  }

  void forward() {
    std::vector<Value> reads;
    for (std::size_t i = 0; i < given_.size(); ++i) {
      const auto& wants = prepared_.input_layouts;
      reads.push_back(reordered(given_[i], i < wants.size() ? wants[i] : std::nullopt));
    }
    if (prepared_.view_of) {
      Value view = reads[static_cast<std::size_t>(*prepared_.view_of)];
      require(view.meta.layout.plain() && prepared_.outputs.front().layout.plain(), "a view is of plain values");
      require(prepared_.view_offset + prepared_.outputs.front().bytes <= view.meta.bytes, "a view lies inside");
      view.meta = prepared_.outputs.front();
      view.offset = prepared_.view_offset;
      outputs_ = {view};
      return;
    }
    outputs_.clear();
    for (const Meta& meta : prepared_.outputs) outputs_.push_back(make(meta, trial_.dirt));
    if (trial_.overwrite) {
      const auto [input, output] = prepared_.overwrites.at(static_cast<std::size_t>(*trial_.overwrite));
      Value& to = outputs_[static_cast<std::size_t>(output)];
      require(to.meta.bytes == reads[static_cast<std::size_t>(input)].meta.bytes, "overwrites have the same bytes");
      to.store = reads[static_cast<std::size_t>(input)].store;
    }
    const auto run = [&](bool again) {
      std::vector<Buf> out;
      for (std::size_t i = 0; i < outputs_.size(); ++i) out.push_back(outputs_[i].buf(again && i > 0));
      kernel(prepared_.scratch, false, [&](Ctx& ctx) { op_.forward(ctx, bufs(reads), out); });
    };
    run(false);
    for (const int input : prepared_.updates) updated_.push_back(reads[static_cast<std::size_t>(input)]);
    if (trial_.valid_workspaces && !outputs_.empty()) {
      outputs_.front().store->fill(std::byte{trial_.dirt});
      run(true);
    }
  }

  void spoil(Value& value) {
    const Buf buf = value.buf();
    switch (value.meta.dtype) {
      case DType::f32:
        std::fill_n(buf.as<float>(), value.meta.bytes / 4, std::nanf(""));
        break;
      case DType::i32:
        std::rotate(buf.as<std::int32_t>(), buf.as<std::int32_t>() + 1, buf.as<std::int32_t>() + value.meta.bytes / 4);
        break;
      default:
        std::fill_n(buf.as<std::uint8_t>(), value.meta.bytes, std::uint8_t{0});
    }
  }

  // Operands are copies; whatever else forward saw is NaN by now.
  void backward(int index, std::span<const Array> gy) {
    const Part& part = prepared_.parts[static_cast<std::size_t>(index)];
    std::vector<Value> saved;
    for (const Saved& item : part.saved) {
      const auto at = static_cast<std::size_t>(item.index);
      saved.push_back(reordered(item.of == Saved::Of::kInput ? given_[at] : outputs_[at], item.layout));
    }
    if (trial_.poison && static_cast<std::size_t>(*trial_.poison) < saved.size()) {
      spoil(saved[static_cast<std::size_t>(*trial_.poison)]);
    }
    std::vector<Value> gradients;
    for (const GradOf& item : part.gy) {
      gradients.push_back(reordered(bring(gy[static_cast<std::size_t>(item.output)]), item.layout));
    }
    if (part.view) {
      Value view = gradients.front();
      require(view.meta.layout.plain() && view.meta.bytes == part.gx.front().bytes, "a view of a plain gradient");
      view.meta = part.gx.front();
      outcome_.gradients[static_cast<std::size_t>(part.inputs.front())] = to_array(view);
      return;
    }
    const bool accumulate = trial_.accumulate && part.accumulates;
    std::vector<Value> gx;
    for (const Meta& meta : part.gx) {
      gx.push_back(make(meta, trial_.dirt));
      const Buf buf = gx.back().buf();
      if (accumulate) std::fill_n(buf.as<float>(), meta.bytes / 4, trial_.before);
    }
    if (trial_.part_overwrite && static_cast<std::size_t>(*trial_.part_overwrite) < part.overwrites.size()) {
      const auto [read, k] = part.overwrites[static_cast<std::size_t>(*trial_.part_overwrite)];
      const auto at = static_cast<std::size_t>(read);
      Value& operand = at < saved.size() ? saved[at] : gradients[at - saved.size()];
      Value& to = gx[static_cast<std::size_t>(k)];
      require(to.meta.bytes == operand.meta.bytes, "overwrites have the same bytes");
      to.store = operand.store;
    }
    const std::vector<Bytes> held = hide();
    kernel(part.scratch, accumulate,
           [&](Ctx& ctx) { op_.backward(ctx, index, bufs(saved), bufs(gradients), bufs(gx)); });
    restore(held);
    for (std::size_t k = 0; k < gx.size(); ++k) {
      outcome_.gradients[static_cast<std::size_t>(part.inputs[k])] = to_array(gx[k]);
    }
  }

  std::vector<Bytes> hide() {
    std::vector<Bytes> held;
    for (auto* values : {&given_, &outputs_}) {
      for (Value& value : *values) {
        held.push_back(value.store->copy());
        value.store->fill(std::byte{0xFF});
      }
    }
    return held;
  }

  void restore(const std::vector<Bytes>& held) {
    std::size_t i = 0;
    for (auto* values : {&given_, &outputs_}) {
      for (Value& value : *values) {
        if (!held[i].empty()) std::memcpy(value.store->data(), held[i].data(), held[i].size());
        ++i;
      }
    }
  }

  Harness& harness_;
  compute::Machine& machine_;
  const AnyOp& op_;
  Needs needs_;
  Trial trial_;
  Prepared prepared_;
  std::vector<std::shared_ptr<Guarded>> stores_;
  std::vector<Value> given_;
  std::vector<Value> outputs_;
  std::vector<Value> updated_;  // inputs that are changed in place
  Outcome outcome_;
};

Harness::Harness(int threads) : machine_(threads) {}

Prepared Harness::prepare(const AnyOp& op, std::span<const Meta> in, Needs needs) {
  Prep prep(machine_, op.name(), {"a_test.cc", 12});
  return op.prepare(prep, in, needs);
}

Outcome Harness::run(const AnyOp& op, std::span<const Array> inputs, Needs needs, std::span<const Array> gy,
                     const Trial& trial) {
  return Run(*this, op, needs, trial)(inputs, gy);
}

Array Harness::forward(const AnyOp& op, std::span<const Array> inputs, const Trial& trial) {
  return run(op, inputs, Needs(), {}, trial).first;
}

Array draw_normal(const Shape& shape, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  Array out = Array::of(shape);
  for (float& value : out.as()) value = normal(random);
  return out;
}

std::vector<Array> draw_inputs(const Sample& sample, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Array> out;
  for (const SampleInput& input : sample.inputs) {
    using Fill = SampleInput::Fill;
    Array array = input.dtype == f32 ? draw_normal(input.shape, random()) : Array::of(input.shape, input.dtype);
    if (input.fill == Fill::kIndices && input.dtype == f32) {
      // Real numbers from its middle, where what has poles at its ends is smooth.
      const auto end = static_cast<float>(input.below);
      std::uniform_real_distribution<float> number(0.4f * end, 0.6f * end);
      for (float& value : array.as()) value = number(random);
    } else if (input.fill == Fill::kIndices) {
      std::uniform_int_distribution<std::int32_t> index(0, static_cast<std::int32_t>(input.below) - 1);
      if (input.dtype == u8) {
        for (std::uint8_t& value : array.as<std::uint8_t>()) value = static_cast<std::uint8_t>(index(random));
      } else {
        for (std::int32_t& value : array.as<std::int32_t>()) value = index(random);
      }
    } else if (input.fill == Fill::kPositive) {
      for (float& value : array.as()) value = 1 + std::fabs(value);
    } else if (input.fill != Fill::kNormal) {
      for (float& value : array.as()) value = input.fill == Fill::kOnes ? 1.0f : 0.0f;
    }
    out.push_back(std::move(array));
  }
  return out;
}

Needs all_needs(const Sample& sample) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < sample.inputs.size(); ++i) {
    if (sample.inputs[i].differentiable && sample.inputs[i].dtype == f32) bits |= std::uint64_t{1} << i;
  }
  return Needs(bits);
}

}  // namespace tidemark::testing
