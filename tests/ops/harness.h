// Runs one op without the engine: what the engine promises to an op (layouts, overwrites, views, accumulation, scratch)
// is done here step by step, with guard zones round every buffer, so that tests can break each promise on its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "compute/machine.h"
#include "tidemark/op.h"

namespace tidemark::testing {

using Bytes = std::vector<std::byte>;

// Elements in row-major order.
struct Array {
  Meta meta;  // plain
  Bytes bytes;

  static Array of(const Shape& shape, DType dtype = f32);
  template <class T = float>
  std::span<T> as() {
    return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  template <class T = float>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
};

// How a run differs from the plain one.
struct Trial {
  int offset = 0;            // of every buffer from a multiple of 4096, in units of 64 bytes
  std::uint8_t dirt = 0xFF;  // what scratch and results hold before: 0xFF is NaN
  dnnl::memory::format_tag images = dnnl::memory::format_tag::nchw;  // how those of the first input's shape come
  bool valid_workspaces = false;           // forward again, with the outputs beyond the first still there
  std::optional<int> overwrite = {};       // the pair of Prepared::overwrites that is used
  std::optional<int> part_overwrite = {};  // the pair of each part's overwrites that is used, where it has so many
  std::optional<int> poison = {};          // the item of each part's `saved` that is spoilt
  bool accumulate = false;                 // parts that can add to what `before` says
  float before = 0.5f;
  RngKey key{7, 3, 5};
};

struct Outcome {
  std::vector<Bytes> outputs;                   // as they lie, workspaces and inputs that are updated too
  std::vector<std::optional<Array>> gradients;  // by input
  Array first;                                  // the first output
  std::int64_t heap_over = 0;                   // heap bytes beyond announced scratch, in the worst kernel
  bool guards_whole = true;
};

class Harness {
 public:
  explicit Harness(int threads);

  compute::Machine& machine() { return machine_; }
  Prepared prepare(const AnyOp& op, std::span<const Meta> in, Needs needs);
  // Forward alone where `gy` is empty; it holds the gradients of the visible outputs.
  Outcome run(const AnyOp& op, std::span<const Array> inputs, Needs needs, std::span<const Array> gy,
              const Trial& trial = {});
  // The first output of forward.
  Array forward(const AnyOp& op, std::span<const Array> inputs, const Trial& trial = {});

 private:
  class Run;
  compute::Machine machine_;
};

// Inputs of a sample, drawn from `seed`.
std::vector<Array> draw_inputs(const Sample& sample, std::uint64_t seed);
Array draw_normal(const Shape& shape, std::uint64_t seed);
// All inputs that are a gradient's subject.
Needs all_needs(const Sample& sample);

}  // namespace tidemark::testing
