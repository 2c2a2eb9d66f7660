// How an op is written, for the library's own ops and for yours.
//
// An op is one struct that says everything about itself:
//
//   struct Scale {
//     static constexpr std::string_view name = "scale";
//     float factor = 1;
//
//     void describe(td::Attributes& a) const { a("factor", factor); }  // what makes two calls the same op
//
//     td::Prepared prepare(td::Prep& prep, std::span<const td::Meta> in, td::Needs needs) const {
//       prep.require(in[0].dtype == td::f32, "x must be f32");
//       const td::Meta plain = td::Meta::plain(in[0].shape);
//       const auto elements = static_cast<double>(plain.shape.numel());
//       td::Prepared out;
//       out.outputs = {plain};
//       out.input_layouts = {td::Layout{}};  // row-major: the engine brings it there
//       out.work = {elements, 8 * elements};
//       if (needs[0]) {
//         td::Part part;
//         part.inputs = {0};
//         part.gx = {plain};
//         part.gy = {{0, td::Layout{}}};
//         part.work = out.work;
//         out.parts.push_back(part);
//       }
//       return out;
//     }
//
//     void forward(td::Ctx& ctx, std::span<const td::Buf> in, std::span<const td::Buf> out) const {
//       scale(ctx, in[0], out[0]);
//     }
//
//     void backward(td::Ctx& ctx, int, std::span<const td::Buf>, std::span<const td::Buf> gy,
//                   std::span<const td::Buf> gx) const {
//       scale(ctx, gy[0], gx[0]);
//     }
//
//     void scale(td::Ctx& ctx, const td::Buf& from, const td::Buf& to) const {
//       ctx.parallel_for(to.numel(), 1024, [&](std::int64_t begin, std::int64_t end) {
//         for (std::int64_t i = begin; i < end; ++i) to.as()[i] = factor * from.as()[i];
//       });
//     }
//   };
//
//   td::Tensor y = td::apply(Scale{2}, {x});
//
// The rules: forward is a pure function of attributes, inputs and ctx.rng(); it may run any number of times and must
// give the same bits each time. Backward reads only what prepare() declared. Memory comes from the bufs and
// ctx.scratch() alone. backward() may be left out where prepare() declares no parts. Pointwise functions need no
// struct: see map.h.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tidemark/meta.h"
#include "tidemark/rng.h"
#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

namespace compute {
class Machine;
}

// Which inputs need gradients.
class Needs {
 public:
  explicit Needs(std::uint64_t bits = 0) : bits_(bits) {}
  bool operator[](std::size_t input) const { return input < 64 && ((bits_ >> input) & 1) != 0; }
  bool any() const { return bits_ != 0; }
  std::uint64_t bits() const { return bits_; }

 private:
  std::uint64_t bits_;
};

// Work, from which time is estimated: floating-point operations, and bytes read and written.
struct Work {
  double flops = 0;
  double bytes = 0;
};

// An operand of backward: input or output `index` of forward. Where `layout` is set the engine brings the value into
// that layout first (a graph op with bytes and cost of its own).
struct Saved {
  enum class Of : std::uint8_t { kInput, kOutput };
  Of of = Of::kInput;
  int index = 0;
  std::optional<Layout> layout;

  static Saved input(int i, std::optional<Layout> layout = {}) { return {Of::kInput, i, layout}; }
  static Saved output(int i, std::optional<Layout> layout = {}) { return {Of::kOutput, i, layout}; }
};

// The gradient of output `output`, brought into `layout` where that is set.
struct GradOf {
  int output = 0;
  std::optional<Layout> layout;
};

// One kernel of backward: the gradients of one or more inputs, and just what they need.
struct Part {
  std::vector<int> inputs;  // gx[k] is the gradient of inputs[k]
  std::vector<Meta> gx;     // its meta: the input's shape, in the kernel's layout
  std::vector<Saved> saved;
  std::vector<GradOf> gy;
  std::int64_t scratch = 0;  // bytes
  Work work;
  // {read, k}: gx[k] may be written over operand `read`, counted over saved and then gy; exactly the same bytes.
  std::vector<std::pair<int, int>> overwrites;
  bool accumulates = false;  // when ctx.accumulate(), adds to what gx holds
  bool view = false;         // no kernel: gx[0] is the bytes of gy[0], with its own meta (gy must be plain)
};

// What prepare() answers, once per signature (attributes, metas, needs, threads). The engine checks it and throws an
// Error that names the op and the line of the call where it makes no sense.
struct Prepared {
  std::vector<Meta> outputs;
  int visible = -1;  // outputs beyond these are workspaces that only backward reads; -1: all are visible
  std::vector<std::optional<Layout>> input_layouts;  // what forward wants; shorter or nullopt: as it comes
  std::int64_t scratch = 0;                          // bytes, of forward
  Work work;
  std::vector<std::pair<int, int>> overwrites;  // {input, output}: the output may be written over the input
  std::vector<int> updates;                     // inputs that are leaves and are changed in place: the op runs once
  bool random = false;                          // takes ctx.rng()
  std::optional<int> view_of;                   // no kernel: output 0 is the bytes of this (plain) input
  std::int64_t view_offset = 0;                 // bytes into it
  std::vector<Part> parts;
  std::shared_ptr<const void> state;  // what forward and backward want to keep: ctx.state<T>()
};

// Bytes with their meta. `valid` (outputs of forward only): a replay finds the value still there, and may read it.
struct Buf {
  void* data = nullptr;
  const Meta* meta = nullptr;
  bool valid = false;

  template <class T = float>
  T* as() const {
    return static_cast<T*>(data);
  }
  const Shape& shape() const { return meta->shape; }
  std::int64_t numel() const { return meta->shape.numel(); }
};

// The door to the machine while an op is prepared.
class Prep {
 public:
  Prep(compute::Machine& machine, std::string_view op, SourceLocation where)
      : machine_(machine), op_(op), where_(where) {}
  // Throws ShapeError: "[op] message (at file:line)".
  [[noreturn]] void fail(const std::string& message) const;
  void require(bool holds, const std::string& message) const {
    if (!holds) fail(message);
  }
  int threads() const;
  compute::Machine& machine() const { return machine_; }

 private:
  compute::Machine& machine_;
  std::string_view op_;
  SourceLocation where_;
};

// The only door to the machine while a kernel runs.
class Ctx {
 public:
  Ctx(compute::Machine& machine, const void* state, void* scratch, RngKey rng, bool accumulate)
      : machine_(machine), state_(state), scratch_(scratch), rng_(rng), accumulate_(accumulate) {}
  int threads() const;
  // Calls f(first, last) for parts of [0, count), at most one a thread. Each part but the last holds the same multiple
  // of `grain`: where the parts lie depends on count, grain and threads() alone, so that the same call always computes
  // the same way. An exception that f throws comes out of here, that of the first such part; the others still run.
  template <class F>
  void parallel_for(std::int64_t count, std::int64_t grain, F&& f) const {
    using Function = std::remove_reference_t<F>;
    run_parts(
        count, grain,
        [](const void* function, std::int64_t first, std::int64_t last) {
          (*static_cast<Function*>(const_cast<void*>(function)))(first, last);
        },
        std::addressof(f));
  }
  template <class T = void>
  T* scratch() const {
    return static_cast<T*>(scratch_);
  }
  RngKey rng() const { return rng_; }
  bool accumulate() const { return accumulate_; }
  template <class T>
  const T& state() const {
    return *static_cast<const T*>(state_);
  }
  compute::Machine& machine() const { return machine_; }

 private:
  void run_parts(std::int64_t count, std::int64_t grain, void (*part)(const void*, std::int64_t, std::int64_t),
                 const void* function) const;

  compute::Machine& machine_;
  const void* state_;
  void* scratch_;
  RngKey rng_;
  bool accumulate_;
};

// Attributes by name: they make the op's signature and its text.
class Attributes {
 public:
  void operator()(std::string_view name, double value);
  void operator()(std::string_view name, std::int64_t value);
  void operator()(std::string_view name, int value) { (*this)(name, static_cast<std::int64_t>(value)); }
  void operator()(std::string_view name, bool value) { (*this)(name, static_cast<std::int64_t>(value)); }
  void operator()(std::string_view name, float value) { (*this)(name, static_cast<double>(value)); }
  void operator()(std::string_view name, const Shape& value);
  // "kernel=3, stride=1": exact, so that equal texts mean equal attributes.
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// One example call: the op table drives the tests and the rows of op_bench from these.
struct SampleInput {
  Shape shape;
  DType dtype = f32;
  enum class Fill : std::uint8_t { kNormal, kPositive, kIndices, kZeros, kOnes } fill = Fill::kNormal;
  std::int64_t below = 0;      // kIndices: drawn from [0, below)
  bool differentiable = true;  // false: not a gradient's subject
};
struct Sample {
  std::string label;
  std::vector<SampleInput> inputs;
  std::shared_ptr<const class AnyOp> op;
  // Tests also try an empty batch: which inputs have the batch as their first dimension (where nothing is said, those
  // of the first input's rank and first size), and what the outputs then are.
  std::vector<bool> batched = {};
  float of_nothing = 0;
};

// An op behind one interface.
class AnyOp {
 public:
  virtual ~AnyOp() = default;
  virtual std::string_view name() const = 0;
  virtual void describe(Attributes& attributes) const = 0;
  virtual Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const = 0;
  virtual void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const = 0;
  virtual void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                        std::span<const Buf> gx) const = 0;
};

template <class Op>
class OpModel final : public AnyOp {
 public:
  explicit OpModel(Op op) : op_(std::move(op)) {}
  std::string_view name() const override { return Op::name; }
  void describe(Attributes& attributes) const override {
    if constexpr (requires { op_.describe(attributes); }) op_.describe(attributes);
  }
  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const override {
    return op_.prepare(prep, in, needs);
  }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const override {
    if constexpr (requires { op_.forward(ctx, in, out); }) op_.forward(ctx, in, out);
  }
  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const override {
    if constexpr (requires { op_.backward(ctx, part, saved, gy, gx); }) op_.backward(ctx, part, saved, gy, gx);
  }

 private:
  Op op_;
};

template <class Op>
std::shared_ptr<const AnyOp> any_op(Op op) {
  return std::make_shared<OpModel<Op>>(std::move(op));
}

// Records and runs an op; its visible outputs.
std::vector<Tensor> apply_all(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> inputs,
                              SourceLocation where);

// The first visible output; throws Error where there is none.
Tensor apply_one(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> inputs, SourceLocation where);

// The same for an op of one visible output.
template <class Op>
Tensor apply(Op op, std::initializer_list<Tensor> inputs, SourceLocation where = SourceLocation::current()) {
  return apply_one(any_op(std::move(op)), {inputs.begin(), inputs.size()}, where);
}

}  // namespace tidemark
#pragma GCC visibility pop
